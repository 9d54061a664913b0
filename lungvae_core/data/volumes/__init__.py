"""Reading of all images: from files to pixels in HU, with evidence, and with a position.

`formats` reads a file's numbers and its grid, `scale` decides whether the numbers are HU, `grid` their
position and orientation, `assembly` which DICOM files form one series. Notes report what was left out or
turned.
"""
