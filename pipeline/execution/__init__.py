"""How scans are spread over processes and machines: Beam, local workers, their supervision."""
