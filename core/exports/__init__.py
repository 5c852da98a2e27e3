"""The ways out of Graft, each a module: what is made of a run for use elsewhere."""
