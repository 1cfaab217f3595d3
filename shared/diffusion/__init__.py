"""The diffusion core: schedule, solvers, keying, model and the two phases. Alone in `shared` it needs torch."""
