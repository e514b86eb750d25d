"""The graph, its options and the engines that run it."""
