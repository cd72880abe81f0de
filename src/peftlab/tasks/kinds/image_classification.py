"""Image classification: one of the task's labels for each image."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset, Features, Image, Value

from peftlab.inputs.image_files import stored
from peftlab.output_layer import OutputLayer, image_classes
from peftlab.tasks.kind import KindExample, Predictions
from peftlab.tasks.kinds.classification import Classification
from peftlab.tasks.task import Task


class ImageClassification(Classification):
    """The label of an image; all else is as of texts. `image` is a file's content, or names the file."""

    name = "image-classification"
    form = "images"
    columns: ClassVar[dict[str, Any]] = {"id": Value("string"), "image": Image(decode=False), "label": Value("int64")}

    @property
    def output_layer(self) -> OutputLayer:
        """One output for each label, on a model that reads images."""
        return image_classes(self.task.labels)

    @classmethod
    def example(cls) -> KindExample:
        """Return four images, two of each label: bright below, and bright above."""
        task = Task("example", list(cls.metrics), ["low", "high"], kind=cls.name, generator="none")
        labels = [0, 1, 1, 0]
        drawn = np.random.default_rng(0).integers(0, 64, (4, 8, 8), dtype=np.uint8)
        for image, label in zip(drawn, labels, strict=True):
            image[:4] += 128 * label
            image[4:] += 128 * (1 - label)
        features = Features(**{name: cls.columns[name] for name in ("image", "label")})
        columns = {"image": [stored(image, "image") for image in drawn], "label": labels}
        rows = Dataset.from_dict(columns, features=features)
        gold = torch.tensor(labels)
        return KindExample(cls(task), rows, Predictions(torch.arange(4), F.one_hot(gold, 2).float(), gold))
