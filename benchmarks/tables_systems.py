"""The programs that benchmarks/tables.py runs, one for each system, each in a process of its own.

Each reads a job (JSON, its one argument), fits on train.csv within the job's seconds, writes predictions of test.csv, and prints one
JSON object: seconds (to the finished model), predict (seconds for the test rows), megabytes (on disk), note.
"""

from __future__ import annotations

LODE = r"""
import json, sys, time
from pathlib import Path
import tempfile
import numpy, polars as pl, yaml, torch, lightgbm
import lode
from lode.pipeline.run import run

job = json.loads(sys.argv[1])
begin = time.perf_counter()
folder, target = Path(job["folder"]), job["target"]
task = {"binary": {"type": "binary", "positive": job["positive"]}, "multiclass": "multiclass", "number": "number"}[job["kind"]]
with tempfile.TemporaryDirectory() as place:
    path = Path(place) / "lode.yaml"
    spec = {
        "name": "tables",
        "data": {"source": {part: {"type": "csv", "path": str(folder / f"{part}.csv")} for part in ("train", "test")}},
        "outputs": {target: task},
        # As the peers do: package what does best, whatever it costs to run.
        "model": {"type": "auto", "choose": "best"},
        "train": {"budget": f"{job['seconds'] * 0.88 - 3:.1f}s", "seed": job["seed"]},
        "evaluate": {"resamples": 100, "importance": False},
    }
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    done = run(path)
    model = done.model
    seconds = time.perf_counter() - begin
    trained = done.manifests["train"].result
    size = sum(file.stat().st_size for file in Path(done.manifests["package"].result["folder"]).rglob("*") if file.is_file())
    begin = time.perf_counter()
    answers = model.predict(pl.read_csv(folder / "test.csv", infer_schema=False).drop(target), check=False)
    predict = time.perf_counter() - begin
classes = model.tasks[target].classes
if job["kind"] == "number":
    said = answers.select(value=target)
elif job["kind"] == "binary":
    said = answers.select(value=f"{target}.probability.{classes[1]}")
else:
    said = answers.select(pl.col(f"{target}.probability.{word}").alias(word) for word in classes)
said.write_csv(job["said"])
weights = trained["ensemble"][target] if trained["ensemble"] and trained["chosen"] == "ensemble" else {}
note = trained["chosen"] + " " + ", ".join(f"{name} x{trained['fitted'][name]} {share:.2f}" for name, share in weights.items())
stages = {name: round(manifest.seconds, 1) for name, manifest in done.manifests.items()}
facts = {"seconds": seconds, "predict": predict, "megabytes": size / 1e6, "note": note, "stages": stages, "fitted": trained["fitted"]}
print(json.dumps(facts))
"""

OPTUNA = r"""
import json, sys, time, warnings
import lightgbm, numpy as np, optuna, pandas as pd, os, tempfile
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
job = json.loads(sys.argv[1])
begin = time.perf_counter()
end = begin + job["seconds"]
target, kind = job["target"], job["kind"]
train, test = (pd.read_csv(f"{job['folder']}/{part}.csv", skipinitialspace=True) for part in ("train", "test"))
if kind == "number":
    y, classes = train[target].to_numpy(float), None
else:
    words = train[target].astype(str).str.strip()
    classes = sorted(words.unique())
    if kind == "binary":
        classes = [word for word in classes if word != str(job["positive"])] + [str(job["positive"])]
    y = words.map({word: code for code, word in enumerate(classes)}).to_numpy()
x, x_test = train.drop(columns=target), test.drop(columns=target)
for name in list(x.columns):
    if x[name].dtype.kind not in "biuf":
        numbers = pd.to_numeric(x[name], errors="coerce")
        if numbers.notna().mean() > 0.98:  # numbers with a few blanks
            x[name], x_test[name] = numbers, pd.to_numeric(x_test[name], errors="coerce")
        elif x[name].nunique() > 0.9 * len(x):  # an identifier
            x, x_test = x.drop(columns=name), x_test.drop(columns=name)
        else:
            kept = pd.CategoricalDtype(sorted(x[name].dropna().unique()))
            x[name], x_test[name] = x[name].astype(kept), x_test[name].astype(kept)
# Cross-validation where a fit is cheap, one held-out fifth where it is not.
count = 5
cut = (KFold if kind == "number" else StratifiedKFold)(count, shuffle=True, random_state=job["seed"])
folds = list(cut.split(x, y))[: count if len(y) <= 10_000 else 1]
fixed = {"objective": {"number": "regression", "binary": "binary", "multiclass": "multiclass"}[kind], "verbosity": -1,
         "metric": {"number": "rmse", "binary": "auc", "multiclass": "multi_logloss"}[kind], "num_threads": os.cpu_count(),
         "bagging_freq": 1, "seed": job["seed"]}
if kind == "multiclass":
    fixed["num_class"] = len(classes)
longest = 0.0


class OutOfTime(Exception):
    pass


def stop(env):
    if time.perf_counter() + longest * 1.5 + 0.5 > end:
        raise OutOfTime


def objective(trial):
    global longest
    params = {
        **fixed,
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 256, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 2, 100, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
        "cat_smooth": trial.suggest_float("cat_smooth", 1.0, 100.0, log=True),
    }
    figures, rounds = [], []
    for learn, held in folds:
        started = time.perf_counter()
        data = lightgbm.Dataset(x.iloc[learn], y[learn], params=params)
        valid = lightgbm.Dataset(x.iloc[held], y[held], reference=data)
        calls = [lightgbm.early_stopping(50, verbose=False), stop]
        booster = lightgbm.train(params, data, 3000, valid_sets=[valid], callbacks=calls)
        longest = max(longest, time.perf_counter() - started)
        figures.append(next(iter(booster.best_score["valid_0"].values())))
        rounds.append(booster.best_iteration)
    trial.set_user_attr("rounds", float(np.mean(rounds)))
    return float(np.mean(figures))


study = optuna.create_study(direction="maximize" if kind == "binary" else "minimize", sampler=optuna.samplers.TPESampler(seed=job["seed"]))
study.enqueue_trial({"learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 20, "feature_fraction": 0.8, "bagging_fraction": 0.8,
                     "lambda_l1": 1e-8, "lambda_l2": 1e-3, "cat_smooth": 10.0})
while time.perf_counter() + longest * 1.5 + 0.5 < end:
    try:
        study.optimize(objective, n_trials=1)
    except OutOfTime:
        break
done = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
# On a machine too slow for one trial: LightGBM's own defaults.
rounds = max(1, round(study.best_trial.user_attrs["rounds"] * 1.1)) if done else 100
booster = lightgbm.train({**fixed, **(study.best_params if done else {})}, lightgbm.Dataset(x, y), rounds)
with tempfile.TemporaryDirectory() as place:
    booster.save_model(f"{place}/model.txt")
    size = os.path.getsize(f"{place}/model.txt")
seconds = time.perf_counter() - begin
begin = time.perf_counter()
said = booster.predict(x_test)
predict = time.perf_counter() - begin
(pd.DataFrame(said, columns=classes) if kind == "multiclass" else pd.DataFrame({"value": said})).to_csv(job["said"], index=False)
print(json.dumps({"seconds": seconds, "predict": predict, "megabytes": size / 1e6, "note": f"{done} trials of {len(folds)} fits"}))
"""

AUTOGLUON = r"""
import json, sys, time, warnings, tempfile, logging
warnings.simplefilter("ignore")
import pandas as pd
import torch, lightgbm, catboost, xgboost
from autogluon.tabular import TabularPredictor

job = json.loads(sys.argv[1])
begin = time.perf_counter()
target, kind = job["target"], job["kind"]
train, test = (pd.read_csv(f"{job['folder']}/{part}.csv", skipinitialspace=True) for part in ("train", "test"))
if kind != "number":
    train[target] = train[target].astype(str).str.strip()
metric = {"number": "root_mean_squared_error", "binary": "roc_auc", "multiclass": "log_loss"}[kind]
problem = {"number": "regression", "binary": "binary", "multiclass": "multiclass"}[kind]
with tempfile.TemporaryDirectory() as place:
    predictor = TabularPredictor(target, eval_metric=metric, problem_type=problem, path=place, verbosity=0,
                                 **({"positive_class": str(job["positive"])} if kind == "binary" else {}))
    # The look for leaks of stacking takes a quarter of the time and wants hours; without it "best" fits into minutes.
    more = {"dynamic_stacking": False} if job["preset"] != "medium" else {}
    left = job["seconds"] - (time.perf_counter() - begin)
    predictor.fit(train, time_limit=left, presets=f"{job['preset']}_quality", **more)
    seconds = time.perf_counter() - begin
    size = predictor.disk_usage()
    begin = time.perf_counter()
    x = test.drop(columns=target)
    said = predictor.predict(x) if kind == "number" else predictor.predict_proba(x)
    predict = time.perf_counter() - begin
    models = [name for name in predictor.model_names()]
if kind == "number":
    frame = pd.DataFrame({"value": said.to_numpy()})
elif kind == "binary":
    frame = pd.DataFrame({"value": said[str(job["positive"])].to_numpy()})
else:
    frame = said.reset_index(drop=True)
frame.to_csv(job["said"], index=False)
print(json.dumps({"seconds": seconds, "predict": predict, "megabytes": size / 1e6, "note": f"{job['preset']}: " + ", ".join(models)}))
"""

PROGRAMS = {"lode": LODE, "optuna": OPTUNA, "autogluon": AUTOGLUON}
