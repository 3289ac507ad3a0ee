# For the writer of a log: proves and takes over the newest file.
from pipeline.native.segments cimport Segment

cdef object recover_segment(Segment* segment, where, bytes path)
