"""Coverage-guided fuzzing of what reads untrusted bytes. `python -m fuzz --seconds 60`; needs atheris."""
