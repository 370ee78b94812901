"""Migrations, one file each in `versions/`, applied in order by `store.migrate`."""
