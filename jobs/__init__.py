"""What runs when: the line of waiting runs, and the worker that trains them one after another."""
