"""What the other browser tests stand on: Chromium starts, and pages look as was asked."""

import pytest
from playwright.sync_api import Page

LOOK = "[innerWidth, innerHeight, matchMedia('(prefers-color-scheme: dark)').matches]"


def test_a_page_is_a_light_desktop_unless_asked(page: Page):
    assert page.evaluate(LOOK) == [1440, 900, False]


@pytest.mark.parametrize("page", ["phone dark"], indirect=True)
def test_a_page_can_be_a_dark_phone(page: Page):
    assert page.evaluate(LOOK) == [390, 844, True]
