"""The page, the tables and the plots, made from the files of finished stages and from nothing else."""
