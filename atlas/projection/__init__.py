"""Activations laid out: from vectors to a map, its cells and their tiles.

    vectors [m,c] -> positions [m,2] in [0,1] -> cells of grids -> directions, labels, real samples -> tiles

Nothing here knows a store or a network: vectors come in as chunks of arrays, values go out as arrays.
"""
