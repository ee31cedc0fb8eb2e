"""One file per method. Import the classes from `minigan`: `from minigan import ALGAN`."""
