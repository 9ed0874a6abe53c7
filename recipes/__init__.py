"""torchtune recipes, one self-contained file each. The file makes `tune run recipes/x.py` import this folder."""
