"""`python -m imagenet_captions`: the command line."""

from imagenet_captions.cli.main import main

if __name__ == "__main__":
    main()
