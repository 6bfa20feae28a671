"""The conditional GAN that refines geometry images (Keras 3, backend-neutral)."""
