"""The one room through which images come in: from files to pixels in HU, with evidence, and a place.

`formats` reads a file's numbers and its grid, `scale` decides whether the numbers are HU, `grid` where they
lie and which way is up, `assembly` which DICOM files are one series. What is left out or turned is said in
notes.
"""
