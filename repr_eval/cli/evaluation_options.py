"""The options of the commands that evaluate, and the headings under which their help lists them.

It imports no torch, so that a command's help comes at once. The names that choices and help texts spell out are tied
to the tables that have them by a test.
"""

from pathlib import Path

import click

from repr_eval.cli import options
from repr_eval.gan.architectures import ARCHITECTURES

METHODS = (  # of repr_eval.representations.methods
    "pixels", "pixels-zca", "pixels-pca", "kmeans-1600", "kmeans-4800", "kmeans-4800-gain-shape", "kmeans-3layer",
    "kmeans-3layer-small", "ckn", "ckn-small", "patches", "patches-small",
    "dae", "dae-small", "swwae", "swwae-small", "swwae-dropout", "swwae-dropout-small",
    "exemplar", "exemplar-small",
)  # fmt: skip
# of repr_eval.classifiers.named
CLASSIFIERS = ("svm", "knn", "weighted-knn", "logistic", "ridge", "cnn", "cnn-small", "fine-tuned", "fine-tuned-small")
SUPERVISED_CNNS = ("cnn", "cnn-small")  # of these
FINE_TUNED = ("fine-tuned", "fine-tuned-small")  # of these
NEIGHBOURS = ("knn", "weighted-knn")  # of these: their setting is a number of neighbours
AVERAGED_VIEWS = ("single", "mirror", "shifts", "mirror-shifts")  # of repr_eval.representations.averaged_views
BN_MODES = ("recomputed", "at-hand", "running")  # of repr_eval.representations.batch_norm
SUPERVISED_DRAWS = 10  # at most, with --all: each is a training, and a protocol may have 100

HEADINGS = {
    "Representation": ("weights", "arch", "width", "bn", "views", "layers"),
    "Own network": ("encoder", "pool", "image_size", "mean", "std"),
    "Protocol": ("data", "labels", "labels_per_class", "draws", "classifier", "grid", "everything", "seed"),
    "Where": ("data_dir", "download", "store", "store_as", "out", "device"),
}

HEADINGS_OF_ANY_DATA = {
    "Data": ("data", "data_size", "test_share", "split_seed", "data_dir", "download"),
    "Representation": HEADINGS["Representation"],
    "Own network": HEADINGS["Own network"],
    "Protocol": ("protocol", *(name for name in HEADINGS["Protocol"] if name != "data")),
    "Where": tuple(name for name in HEADINGS["Where"] if name not in ("data_dir", "download")),
}
HEADINGS_OF_EXTRACT = {name: HEADINGS_OF_ANY_DATA[name] for name in ("Data", "Representation", "Own network")} | {
    "Where": ("seed", *HEADINGS_OF_ANY_DATA["Where"]),
}
PROTOCOLS = ("all-labels", "per-class", "few-labels")

LAYERS = click.option("--layers", help="Use only the features of these layers, such as 1-4, or 3. Default: all.")
ALL = click.option(
    "--all", "everything", is_flag=True,
    help="Measure every method of the comparison with L2-SVM and kNN (autoencoders, Exemplar CNN and patches at their "
    f"small size), and the small supervised CNN on {SUPERVISED_DRAWS} draws at most. What --out has recorded is "
    "skipped.",
)  # fmt: skip
VIEWS_OPTION = click.option(
    "--views", type=click.Choice(AVERAGED_VIEWS), default=AVERAGED_VIEWS[0], show_default=True,
    help="Average features over views of each image: it and its mirror image (mirror), it and four shifts of it by 2 "
    "pixels (shifts), or all ten (mirror-shifts). The paper's protocol looks once (single).",
)  # fmt: skip
DATA = (
    options.data_dir,
    click.option("--download", is_flag=True,
                 help="Fetch a data set that is missing. (Into the cache folder it is fetched in any case.)"),
)  # fmt: skip

SPEC_HELP = (
    "cifar10, svhn or digits; a folder of class folders, or of train/ and test/ with class folders; a .npz of images "
    "and labels; a .csv of path, label and perhaps split; torchvision:NAME, such as torchvision:CIFAR100; "
    "hf:NAME[@REVISION], by the datasets library."
)
SPLITTING = (
    click.option("--data-size", type=click.IntRange(1, 4096),
                 help="Side in pixels that images are brought to: the shorter side resized, then the centre. Default: "
                 "their own, if all are square and alike."),
    click.option("--test-share", type=click.FloatRange(0, 1, min_open=True, max_open=True),
                 help="Share of every class that becomes test images, for data without a split of its own."),
    click.option("--split-seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
                 help="Seed of that split."),
)  # fmt: skip
READING = (*SPLITTING, *DATA)
ANY_DATA = (click.option("--data", required=True, help=SPEC_HELP), *READING)
REPRESENTATION = (
    click.option("--weights",
                 help="What is evaluated: a .safetensors file; a name from pretrained/; random, an untrained network "
                 "(random:1 draws it with another seed); or a method that learns from the data set's own images: "
                 f"{', '.join(METHODS)}. Default: the best shipped model."),
    click.option("--arch", type=click.Choice(list(ARCHITECTURES)), default="dcgan32", show_default=True,
                 help="Architecture of the untrained network (with --weights random)."),
    click.option("--width", default=1.0, show_default=True,
                 help="Factor on every layer's maps in the untrained network (with --weights random)."),
    click.option("--bn", type=click.Choice(BN_MODES), default="recomputed", show_default=True,
                 help="Where batch-norm statistics come from: the training images (recomputed); each split's own "
                 "images, which sees the test images together (at-hand); or the weights file (running)."),
    VIEWS_OPTION,
)  # fmt: skip
OWN_NETWORK = (
    click.option("--encoder",
                 help="Your network, instead of --weights: module:callable, file.py:callable, a TorchScript, "
                 "torch.export or .onnx file, weights.safetensors@file.py:callable, timm:NAME[:pretrained], "
                 "torchvision:NAME[:pretrained], hub:owner/repo:entry (torch.hub), or "
                 "hf:NAME[:pooled|:tokens] (transformers). All but weights are programs, which run with your rights: "
                 "name only what you trust."),
    click.option("--pool",
                 help="Layers of your network whose outputs are the features: their names, separated by commas. "
                 "Default: the network's output."),
    click.option("--image-size", type=click.IntRange(1),
                 help="Side in pixels to which images are resized for your network. Default: what a pretrained "
                 "network of timm, torchvision or transformers was made for; otherwise 32, as they are."),
    click.option("--mean",
                 help="Subtracted from pixels in [0, 1] before your network sees them: red,green,blue. "
                 "Default: what a pretrained network says; otherwise 0.5,0.5,0.5."),
    click.option("--std",
                 help="Divides the pixels after --mean is subtracted: red,green,blue. Default: as for --mean."),
)  # fmt: skip
PROTOCOL = (
    click.option("--classifier", type=click.Choice(CLASSIFIERS), default="svm", show_default=True,
                 help="Classifier trained on the features; cnn, with --weights pixels, is the supervised control, and "
                 "fine-tuned trains the network of --weights on the labels."),
    click.option("--C", "grid",
                 help="Values that C is chosen from (k for knn and weighted-knn, alpha for ridge, numbers of "
                 "configurations for cnn and fine-tuned), separated by commas. Default: the protocol's."),
    options.seed,
)  # fmt: skip
STORING = (
    click.option("--store", type=click.Path(path_type=Path),
                 help="Folder of stored features. Default: a folder in the cache."),
    click.option("--store-as", type=click.Choice(["float16", "float32"]), default="float16", show_default=True,
                 help="Type in which features are stored and read."),
)  # fmt: skip
WHERE = (*STORING, options.out, options.device)
EVALUATION = (*REPRESENTATION, *OWN_NETWORK, *PROTOCOL, *WHERE)
