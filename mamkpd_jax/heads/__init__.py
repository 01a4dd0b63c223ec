"""The heads: everything between features and keypoints. A module is a kind of head, by the name of its file."""
