"""Any labelled images by one word, a SPEC: what the data door of the suite takes.

FOLDER                  FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, or FOLDER/CLASS/* with a share to test on
FILE.npz                arrays of images and labels
FILE.csv                columns path, label, and perhaps split
torchvision:NAME        a class of torchvision.datasets, such as CIFAR100
hf:NAME[@REVISION]      a set of the Hugging Face hub, or a folder, by the `datasets` library
"""

from pathlib import Path

from repr_eval.images.arrays import read_npz
from repr_eval.images.class_folders import read_folder
from repr_eval.images.data_dir import DataRoot
from repr_eval.images.labelled import LabelledImages
from repr_eval.images.listed import read_csv
from repr_eval.images.own_data import Source, data_set
from repr_eval.images.packaged import read_hugging_face, read_torchvision


def load_spec(
    spec: str, root: DataRoot, download: bool, image_size: int | None = None,
    test_share: float | None = None, split_seed: int = 0,
) -> LabelledImages:  # fmt: skip
    """The labelled images that `spec` names.

    `image_size` is the side that images are brought to (`images.decode` says how); None keeps theirs, if all are square
    and alike. `test_share` and `split_seed` are as in `own_data.data_set`. torchvision's sets lie below `root`. Raises
    ValueError (MissingData where there are no files) with what is wrong, and where.
    """
    return data_set(_source(spec, root, download, image_size), test_share, split_seed)


def _source(spec: str, root: DataRoot, download: bool, image_size: int | None) -> Source:
    kind, _, name = spec.partition(":")
    if kind == "torchvision":
        return read_torchvision(name, root.path, download, image_size)
    if kind == "hf":
        return read_hugging_face(name, image_size)
    path = Path(spec)
    if path.is_dir():
        return read_folder(path, image_size)
    if not path.exists():
        raise ValueError(
            f"{spec}: no such data set, folder or file; needs cifar10, svhn, digits, a folder of class folders, "
            "a .npz or .csv file, torchvision:NAME or hf:NAME"
        )
    if path.suffix.lower() == ".npz":
        if image_size is not None:
            raise ValueError(f"{spec}: arrays keep their size; leave out `image_size={image_size}`")
        return read_npz(path)
    if path.suffix.lower() == ".csv":
        return read_csv(path, image_size)
    raise ValueError(f"{spec}: needs a folder of class folders, a .npz file of arrays, or a .csv file")
