"""The rows of a classifier are those of its labels, whatever the architecture calls the layer."""

from __future__ import annotations

import shutil

import pytest
import torch
import transformers

from smstune.inference.labels import LabelMap
from smstune.modeling.build import load_pretrained_model

IDS = torch.randint(10, 200, (2, 9), generator=torch.Generator().manual_seed(0))
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
ENDS = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
#: By name: the configuration class and its arguments.
ARCHITECTURES = {
    "bert": ("BertConfig", SIZES),
    "roberta": ("RobertaConfig", {**SIZES, "pad_token_id": 1}),
    "electra": ("ElectraConfig", {**SIZES, "embedding_size": 16}),
    "distilbert": ("DistilBertConfig", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}),
    "modernbert": ("ModernBertConfig", {**SIZES, **ENDS}),
    "albert": ("AlbertConfig", {**SIZES, "embedding_size": 16}),
    "deberta": ("DebertaV2Config", SIZES),
    "xlnet": ("XLNetConfig", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}),
    "eurobert": ("EuroBertConfig", {**SIZES, **ENDS, "num_key_value_heads": 2}),
}


# As many labels as before, fewer, more, and as many as the encoder is wide.
@pytest.mark.parametrize("n_labels", [4, 16])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_of_a_label_stay_its_own(checkpoint, tmp_path, name, n_labels):
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    config_class, sizes = ARCHITECTURES[name]
    names = [f"label {number}" for number in range(n_labels)]
    config = getattr(transformers, config_class)(
        vocab_size=len(tokenizer), id2label=dict(enumerate(names)), **sizes
    )
    torch.manual_seed(0)
    before = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    before.save_pretrained(tmp_path / "classifier")
    for wanted in (["new", *names[:0:-1]], names[2:], ["new", *names, "newer"]):
        labels = LabelMap.from_names(wanted)
        after = load_pretrained_model(
            str(tmp_path / "classifier"), labels, tokenizer, attention="eager"
        ).eval()
        with torch.no_grad():
            own, logits = (model(IDS).logits for model in (before, after))
        assert logits.shape == (2, len(wanted))
        assert after.config.id2label == labels.id2label
        for row, label in enumerate(wanted):
            if label in names:
                assert torch.allclose(logits[:, row], own[:, names.index(label)], atol=1e-5)
    shutil.rmtree(tmp_path / "classifier")
