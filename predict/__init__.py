"""Real pictures in, bodies out."""
