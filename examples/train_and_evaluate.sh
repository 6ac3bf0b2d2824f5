#!/usr/bin/env bash
# Train a small DCGAN on scikit-learn's digits without their labels, then measure its discriminator
# beside an untrained one, at 10 labels a class. It takes minutes on two CPU cores.
#
#     examples/train_and_evaluate.sh [FOLDER [STEPS]]
set -euo pipefail
folder=${1:-train-and-evaluate}
steps=${2:-300}

repr-eval train-gan --data digits --arch dcgan32-svhn --width 0.5 --recipe contrastive-unmirrored \
    --epochs 1000 --max-steps "$steps" --out "$folder/gan" --resume
repr-eval digits --weights "$folder/gan/discriminator.safetensors" --out "$folder"
repr-eval digits --weights random --arch dcgan32-svhn --width 0.5 --out "$folder"
repr-eval table --out "$folder"
echo "tables: $folder/digits.md; weights: $folder/gan/discriminator.safetensors"
