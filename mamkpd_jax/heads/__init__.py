"""The heads: everything between features and keypoints. Each module is a kind of head, named like its file."""
