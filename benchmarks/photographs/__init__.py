"""Photographs and textures: the features family beside PatchCore, PaDiM and nearest neighbours, on the same images."""
