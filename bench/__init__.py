"""Speed, measured: of the engine, against this machine's own matrix products and against plain PyTorch loops."""
