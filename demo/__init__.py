"""The main job of Shoal for a person to watch: `make demo`, or `python -m demo`.

`sites` says what the little world looks like, `programs` and `worker` are its parts, `world` puts them
together, `story` tells what happens and checks that it does.
"""
