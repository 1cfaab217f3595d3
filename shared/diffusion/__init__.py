"""The diffusion core: schedule, solvers, keying, model and the two phases. The only part of `shared` that needs torch."""
