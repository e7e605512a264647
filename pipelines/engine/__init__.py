"""The executor on a container engine, through the docker SDK."""
