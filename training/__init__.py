"""The programs that made the embedded model: vae, clip, diffusion, pcr. Each stage is one file with a visible loop."""
