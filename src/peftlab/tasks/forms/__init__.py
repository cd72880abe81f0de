"""From the rows of a source to those of a kind of task: a function for each form that sources have.

A form takes a source's rows, each with where it stands, and yields rows as the kind's `columns` has them; `label` is
still what the source says, None where it says nothing. A task's source names it (`form: copa`), else its kind does.
"""

from peftlab.tasks.forms import plain, superglue
from peftlab.tasks.forms.rows import Form

FORMS: dict[str, Form] = {
    "texts": plain.texts,
    "words": plain.words,
    "questions": plain.questions,
    "choices": plain.choices,
    "images": plain.images,
    "swag": plain.swag,
    "hellaswag": plain.hellaswag,
    "copa": superglue.copa,
    "wic": superglue.wic,
    "wsc": superglue.wsc,
    "multirc": superglue.multirc,
    "record": superglue.record,
}
