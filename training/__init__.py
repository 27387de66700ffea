"""Trains the network whose weights the package ships, on drawn scenes only. See README.md in this folder."""
