"""What to do about an error of the file system, by what it says.

What belongs here: from an ``OSError`` to advice that fits it. What does not: which file it was about, which whoever met
it says.
"""

from __future__ import annotations

import errno

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def is_out_of_room(error: BaseException) -> bool:
    """Whether it says that nothing more can be stored: a full disk, a quota or a limit that is reached."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def advice(error: OSError) -> str:
    """What to do first, as the beginning of a sentence that goes on.

    >>> advice(OSError(errno.EACCES, "Permission denied")), advice(OSError(errno.ENOSPC, "No space left on device"))
    ('correct permissions', 'free space')
    """
    if is_out_of_room(error):
        return "free space"
    if error.errno in _NOT_ALLOWED:
        return "correct permissions"
    return "see to this disk"
