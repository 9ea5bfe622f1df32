"""Front ends: they find people in pictures, their key points and their silhouettes."""
