"""What people see: pages, form, look, endpoints. Knows gradio, jobs, core; never torch or huey."""
