"""Write a model in the files of open_clip, timm or transformers, for their own loaders."""
