"""Bodies, cameras, rotations, skeletons, proxies, networks and losses."""
