"""What checks every call of the library in the tests: beartype, taking an int where a float is said."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
