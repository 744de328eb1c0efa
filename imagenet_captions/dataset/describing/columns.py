"""What each column of a dataset holds, in a sentence."""

from __future__ import annotations

COLUMNS = {
    "image_id": "ImageNet's id of the image, such as n01440764_10026; unique within the dataset.",
    "filename": "The file name of the image in ImageNet.",
    "wnid": "The WordNet id of the class that ImageNet's annotators gave the image.",
    "label": "The class as a number: the position of its wnid among the sorted wnids.",
    "label_original": "The position of the wnid among all of ImageNet's classes.",
    "class_name": "The readable name of the class; two classes may share a name.",
    "title": "The title that the photographer gave the photo.",
    "description": "The description that the photographer wrote.",
    "tags": "The tags that the photographer gave the photo.",
    "caption": "The caption, made from the texts by the caption template in manifest.json.",
    "language": "The detected language of title and description, as an ISO 639 code.",
    "language_score": "The detector's confidence, from 0 to 1.",
    "photo_id": "Flickr's id of the photo.",
    "owner": "Flickr's id of the photo's owner.",
    "owner_name": "The name of the photo's owner on Flickr.",
    "license": "The number of the license that Flickr stated for the photo.",
    "date_taken": "When the photo was taken, by the camera's clock.",
    "date_posted": "When the photo was uploaded to Flickr.",
    "photo_page": "The address of the photo's page on Flickr.",
    "source": "The origin of the texts: flickr, release or yfcc100m.",
    "retrieved_at": "When Flickr was asked about the photo.",
    "mentions": "The labels of all classes that the texts name, in ascending order, a space around each.",
    "names_class": "Whether the texts name the row's own class.",
    "image": "The bytes of the image file, unchanged.",
    "outcome": "How the input ended; `kept` is in the dataset.",
    "detail": "A remark about the outcome.",
    "count": "The number of inputs that the row stands for.",
}
