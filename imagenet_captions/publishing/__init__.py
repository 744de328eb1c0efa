"""Publishing a dataset folder in a repository of the Hugging Face Hub."""
