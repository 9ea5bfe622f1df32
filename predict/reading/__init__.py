"""Reads files that others write: pictures, videos, boxes, key points, masks, part maps."""
