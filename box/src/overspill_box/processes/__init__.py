"""Engines as processes: started, watched, ended, found again after a restart."""
