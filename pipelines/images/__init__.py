"""Images: the build context, the builder, pull and push."""
