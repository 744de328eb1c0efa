"""Cameras' file names, and titles that only look like one."""

from __future__ import annotations

from imagenet_captions.captions.compose import is_camera_name

CAMERA_NAMES = [
    *["IMG_1234", "IMG_4159", "img_0001", "IMG1234", "IMG-1234", "IMG 1234", "IMG_1234.JPG", "IMG_1234.jpeg"],
    *["IMG_1234 (2)", "IMG_1234-1", "IMG_1234_edited", "IMG_1234 copy", "IMG_1234_edited-1.jpg", "IMG_0042.CR2"],
    *["DSC_0001", "DSC00123", "DSC_0139.JPG", "DSCN0001", "DSCF1234", "_DSC1234", "_DSF1234", "DSCI0001", "dsc_0001"],
    *["_MG_1234", "MG_1234", "_IGP1234", "_D3S1234", "_A7R0001", "IMGP1234", "CIMG1234", "PICT0001", "SANY0001"],
    *["P1010001", "P1010001.JPG", "PA101234", "_P1010001", "_1010001", "100_1234", "123-4567_IMG", "DCP_1234"],
    *["MVC-001F", "HPIM1234", "SAM_1234", "SDC10001", "R0010001", "L1000123", "GOPR1234", "DJI_0001", "CRW_1234"],
    *["IMG_20120304_123456", "IMG-20120304-WA0001", "PXL_20210101_123456789", "20120304_123456", "WP_20120304_001"],
    *["Picture 3", "Photo 12", "Photo_1234", "image001", "Image(12)", "photo.JPG", "Picture 001.jpg", "STA_1234"],
]  # fmt: skip

TITLES = [
    *["", "IMG", "IMG of a dog", "IMG_1234 my dog", "My IMG_1234", "DSC", "Dog 1234", "1234", "2012", "2017-59-89"],
    *["P-51 Mustang", "P51", "R2D2", "EX500", "DC-3", "Boeing 747", "Sam 2012", "photo", "Photograph 51"],
    *["Image of God"],
    *["Picture this", "Kirkistown 1979 (13)", "L.A. 1234567", "100 1234", "555-1234", "Mg_", "MOV", "IM 2000", "tea"],
    *["IMG_1234 小さな犬", "DSC_0001 + DSC_0002", "Canon EOS 5D", "Mig-29", "D3S", "F1", "GoPro", "Photo: dog"],
]  # fmt: skip


def test_names_that_a_camera_gave_and_titles_that_somebody_gave() -> None:
    assert [title for title in [*CAMERA_NAMES, *TITLES] if is_camera_name(title)] == CAMERA_NAMES
