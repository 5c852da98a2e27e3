"""How Graft looks: Gradio's theme in our colours, and the style sheet that does the rest; and the
scripts of every page."""

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent

LEAF = gr.themes.Color(
    "#f1f8f3", "#e2f1e7", "#c5e3cf", "#9ccfae", "#6cc490", "#47a06c", "#2f7d4f", "#266641",
    "#1f5235", "#19432b", "#0d2617", name="leaf",
)  # fmt: skip
SLATE = gr.themes.Color(
    "#f7f9f9", "#eef2f3", "#dfe5e8", "#c5ced4", "#94a2ad", "#667481", "#4e5c68", "#3a4650",
    "#252d34", "#1a2026", "#12171b", name="slate",
)  # fmt: skip
FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def launch_options() -> dict[str, Any]:
    """What `launch` needs for the look.

    The style sheet travels in the page's head: there it holds before the first paint, and Gradio
    leaves its selectors alone.
    """
    names = ("stream", "session", "say", "tell", "upload")
    scripts = [(HERE / f"{name}.js").read_text("utf-8") for name in names]
    scheme = '<meta name="color-scheme" content="light dark">'
    return {
        "theme": _theme(),
        "head": f"{scheme}<style>{style()}</style><script>{' '.join(scripts)}</script>",
        "favicon_path": str(HERE / "favicon.svg"),
        "footer_links": [],
    }


def style() -> str:
    """The style sheet."""
    return "".join(
        (HERE / f"{name}.css").read_text("utf-8")
        for name in ("style", "report", "take_home", "library")
    )


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=LEAF,
        secondary_hue=LEAF,
        neutral_hue=SLATE,
        text_size=gr.themes.sizes.text_lg,
        spacing_size=gr.themes.sizes.spacing_lg,
        radius_size=gr.themes.sizes.radius_lg,
        font=FONT,
        font_mono=MONO,
    ).set(
        body_background_fill="var(--ground)",
        body_background_fill_dark="var(--ground)",
        body_text_color="var(--ink)",
        body_text_color_dark="var(--ink)",
        body_text_color_subdued="var(--ink-2)",
        body_text_color_subdued_dark="var(--ink-2)",
        background_fill_primary="var(--card)",
        background_fill_primary_dark="var(--card)",
        background_fill_secondary="var(--sunk)",
        background_fill_secondary_dark="var(--sunk)",
        border_color_primary="var(--line)",
        border_color_primary_dark="var(--line)",
        border_color_accent="var(--accent)",
        border_color_accent_dark="var(--accent)",
        color_accent="var(--accent)",
        color_accent_soft="var(--accent-soft)",
        color_accent_soft_dark="var(--accent-soft)",
        link_text_color="var(--accent)",
        link_text_color_dark="var(--accent)",
        link_text_color_hover="var(--accent)",
        link_text_color_hover_dark="var(--accent)",
        link_text_color_visited="var(--accent)",
        link_text_color_visited_dark="var(--accent)",
        link_text_color_active="var(--accent)",
        link_text_color_active_dark="var(--accent)",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_color="var(--ink)",
        block_title_text_color_dark="var(--ink)",
        block_title_text_weight="600",
        block_title_text_size="1rem",
        block_info_text_size="0.875rem",
        block_info_text_color="var(--ink-2)",
        block_info_text_color_dark="var(--ink-2)",
        input_background_fill="var(--card)",
        input_background_fill_dark="var(--card)",
        input_border_color="var(--line-2)",
        input_border_color_dark="var(--line-2)",
        input_border_color_focus="var(--accent)",
        input_border_color_focus_dark="var(--accent)",
        input_border_width="1px",
        input_shadow="none",
        input_shadow_focus="0 0 0 3px var(--ring)",
        input_shadow_focus_dark="0 0 0 3px var(--ring)",
        input_placeholder_color="var(--ink-3)",
        input_placeholder_color_dark="var(--ink-3)",
        input_padding="10px 14px",
        input_text_size="1rem",
        button_large_padding="10px 20px",
        button_large_text_size="1rem",
        button_large_text_weight="600",
        button_primary_background_fill="var(--accent)",
        button_primary_background_fill_dark="var(--accent)",
        button_primary_background_fill_hover="var(--accent-strong)",
        button_primary_background_fill_hover_dark="var(--accent-strong)",
        button_primary_text_color="var(--on-accent)",
        button_primary_text_color_dark="var(--on-accent)",
        button_primary_text_color_hover="var(--on-accent)",
        button_primary_text_color_hover_dark="var(--on-accent)",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_secondary_background_fill="var(--card)",
        button_secondary_background_fill_dark="var(--card)",
        button_secondary_background_fill_hover="var(--sunk)",
        button_secondary_background_fill_hover_dark="var(--sunk)",
        button_secondary_text_color="var(--ink)",
        button_secondary_text_color_dark="var(--ink)",
        button_secondary_border_color="var(--line-2)",
        button_secondary_border_color_dark="var(--line-2)",
        button_border_width="1px",
        button_border_width_dark="1px",
        button_transition="background-color 0.12s",
        button_transform_hover="none",
        button_transform_active="none",
        button_primary_shadow="none",
        button_secondary_shadow="none",
        checkbox_background_color="var(--card)",
        checkbox_background_color_dark="var(--card)",
        checkbox_background_color_selected="var(--accent)",
        checkbox_background_color_selected_dark="var(--accent)",
        checkbox_border_color="var(--line-2)",
        checkbox_border_color_dark="var(--line-2)",
        checkbox_border_color_selected="var(--accent)",
        checkbox_border_color_selected_dark="var(--accent)",
        checkbox_label_background_fill="var(--card)",
        checkbox_label_background_fill_dark="var(--card)",
        checkbox_label_background_fill_selected="var(--accent-soft)",
        checkbox_label_background_fill_selected_dark="var(--accent-soft)",
        checkbox_label_border_color="var(--line-2)",
        checkbox_label_border_color_dark="var(--line-2)",
        checkbox_label_text_color_selected="var(--ink)",
        checkbox_label_text_color_selected_dark="var(--ink)",
        checkbox_label_padding="10px 16px",
        slider_color="var(--accent)",
        slider_color_dark="var(--accent)",
        error_background_fill="var(--bad-soft)",
        error_background_fill_dark="var(--bad-soft)",
        error_text_color="var(--bad)",
        error_text_color_dark="var(--bad)",
    )
