"""What ships with plausibody, and where files of the user are looked for."""
