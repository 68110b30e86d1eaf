#!/usr/bin/env bash
# The whole experiment, from raw data to the table of the paper.
#
#   bash run_all.sh [miniature|paper|smoke|test] [options]
#
#   miniature   the paper in minutes on a laptop: data made up, small pretrained models (the default)
#   paper       the real experiment: Pythia weights and public data from the hub, or from disk with
#               --weak, --strong and --raw
#   smoke       everything once at its smallest, on invented rows and untrained models
#   test        the test suite
#
#   --tasks a,b      fairness,ood,adversarial,privacy,mcqa (the default), arithmetic, game; or all:
#                    every task, every way to choose labels       --seeds N   how many (3; smoke 1)
#   --weak M         folder or hub name (EleutherAI/pythia-14m)   --strong M (EleutherAI/pythia-410m);
#                    M,M2,...: of the chain's students too, each larger than the one before
#   --raw DIR        public data files already on disk    --limit N   at most N rows in every
#                                                         split, test too
#   --out DIR        results there instead of runs/<preset>       --resplit   every seed its own split
#   --jobs N         commands side by side                --dry-run   print the commands, run nothing
#   --dtype float32|bfloat16     of training (bfloat16 where the processor has it, else float32)
#   --epochs --batch-size --lr --max-length --device --compile    as in the training scripts
#   --attack-limit N --synonyms FILE     attacks on each model itself: rows (privacy: of each split),
#                                        words to swap in
#   --town N         miniature: another made-up town (0), with rows of its own
#   --ceiling-data weak|wts      rows whose ground truth the ceiling gets (weak; elsewhere: wts)
#   --select val|test    rows on which a ceiling's lambda is chosen (val; the paper used test)
#
# Finished stages are skipped, an interrupted one goes on, a changed one is refused: run it again.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FROM=$PWD
cd "$HERE"

die() { echo "error: $1" >&2; exit "${2:-1}"; }
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' run_all.sh; }
path() { if [[ $FROM == "$HERE" || $1 == /* ]]; then echo "$1"; else echo "$FROM/$1"; fi; }
model() { if [[ -e $(path "$1") ]]; then path "$1"; else echo "$1"; fi; }
whole() { [[ $2 =~ ^[1-9][0-9]{0,6}$ ]] || die "$1 $2: must be a whole number >= 1"; }

# ---- what a preset trains with, where the default of a task or of a script does not fit ------------
# The first line that matches counts, and an option given to run_all.sh before all of them. model: a
# size, or a pattern of the runs' names; students and ceilings get what their size gets. `--lam` is for
# the runs with a regulariser only.
# preset     task         model   flag
RECIPE='
  miniature  privacy      *-tft   --optimizer   sgd
  miniature  privacy      *-tft   --batch-size  200
  miniature  privacy      *-tft   --epochs      4
  miniature  privacy      weak-tft --lr         1
  miniature  privacy      *-tft   --lr          4
  miniature  privacy      *-both  --optimizer   sgd
  miniature  privacy      *-both  --batch-size  200
  miniature  privacy      *-both  --epochs      4
  miniature  privacy      *-both  --lr          4
  miniature  privacy      *       --max-length  100
  miniature  privacy      *       --epochs      10
  miniature  privacy      *       --batch-size  8
  miniature  privacy      *       --lr          4e-3
  miniature  ood          *-ntf   --epochs      1
  miniature  fairness     *-ntf   --epochs      2
  miniature  adversarial  *-ntf   --epochs      2
  miniature  mcqa         weak    --epochs      0.45
  miniature  mcqa         weak    --lr          3e-3
  miniature  mcqa         strong  --epochs      2
  miniature  mcqa         strong  --lr          5e-4
  miniature  arithmetic   weak    --epochs      7
  miniature  arithmetic   weak    --lr          3e-3
  miniature  arithmetic   student-all --epochs  5
  miniature  arithmetic   student-truth --epochs 5
  miniature  arithmetic   *       --epochs      8
  miniature  game         weak    --epochs      3
  miniature  game         weak    --lr          2e-3
  miniature  game         student-all --epochs  6
  miniature  game         student-truth --epochs 6
  miniature  game         *       --epochs      10
  miniature  mcqa         *       --batch-size  16
  miniature  arithmetic   *       --batch-size  16
  miniature  game         *       --batch-size  16
  paper      arithmetic   *       --max-length  256
  paper      mcqa         *       --max-length  256
  miniature  ood          weak    --epochs      0.34
  miniature  ood          strong  --epochs      0.5
  miniature  *            *       --epochs      1
  miniature  ood          *       --lam         0.04
  miniature  fairness     weak    --lam         1.5
  miniature  *            weak    --lr          1e-3
  miniature  *            weak    --batch-size  16
  miniature  *            strong  --lr          2e-3
  miniature  *            strong  --batch-size  64
  smoke      *            *       --lr          3e-3'

# ---- arguments -------------------------------------------------------------------------------------
PRESET=miniature TASKS=fairness,ood,adversarial,privacy,mcqa SEEDS= JOBS= LIMIT= RAW= OUT= DRY= RESPLIT= SELECT=val CEILING=weak
WEAK= STRONG= NOTE= SYNONYMS= ATTACKED= MAILS= KEPT= TOWN=0
STRONGS=() TRAIN=() INFER=() COMMAND="bash run_all.sh${*:+ $*}"
if [[ ${1:-} != -* && -n ${1:-} ]]; then PRESET=$1; shift; fi
while [[ $# -gt 0 ]]; do
  case $1 in
    --help|-h) usage; exit 0 ;;
    --dry-run) DRY=1; shift; continue ;;
    --resplit) RESPLIT=1; shift; continue ;;
    --tasks|--seeds|--jobs|--limit|--attack-limit|--synonyms|--town|--weak|--strong|--raw|--out|--select|--ceiling-data|--epochs|--batch-size|--lr|--max-length|--device|--dtype|--compile)
      [[ $# -ge 2 && -n $2 ]] || die "$1 needs a value (see run_all.sh --help)" 2 ;;
    *) die "unknown argument $1 (see run_all.sh --help)" 2 ;;
  esac
  case $1 in
    --tasks) TASKS=$2 ;;
    --seeds) whole "$1" "$2"; SEEDS=$2 ;;
    --jobs) whole "$1" "$2"; JOBS=$2 ;;
    --limit) whole "$1" "$2"; LIMIT=$2 ;;
    --attack-limit) whole "$1" "$2"; ATTACKED=$2 MAILS=$2 KEPT=$2 ;;
    --synonyms) SYNONYMS=$(path "$2"); [[ -f $SYNONYMS ]] || die "$SYNONYMS: no such file (--synonyms)" ;;
    --town) [[ $2 =~ ^[0-9]{1,9}$ ]] || die "$1 $2: must be a whole number"; TOWN=$2 ;;
    --weak) WEAK=$(model "$2") ;;
    --strong) IFS=, read -ra STRONGS <<<"$2"
      for i in "${!STRONGS[@]}"; do STRONGS[i]=$(model "${STRONGS[i]}"); done; STRONG=${STRONGS[0]} ;;
    --raw) RAW=$(path "$2"); [[ -d $RAW ]] || die "$RAW: no such folder (--raw)" ;;
    --out) OUT=$(path "$2") ;;
    --select) [[ $2 == val || $2 == test ]] || die "--select $2: choose val or test"; SELECT=$2 ;;
    --ceiling-data) [[ $2 == weak || $2 == wts ]] || die "--ceiling-data $2: choose weak or wts"; CEILING=$2 ;;
    --device) TRAIN+=("$1" "$2"); INFER+=("$1" "$2") ;;
    --dtype) [[ $2 == float32 || $2 == bfloat16 ]] || die "--dtype $2: choose float32 or bfloat16 (float16 overflows in pythia-14m)"; TRAIN+=("$1" "$2") ;;
    *) TRAIN+=("$1" "$2") ;;
  esac
  shift 2
done
case $PRESET in miniature|paper|smoke|test) ;; *) die "unknown preset $PRESET: choose miniature, paper, smoke or test" 2 ;; esac
SELECT_BY="confidence random ntf truth" CROSSED=ood  # what the trust function is compared with; where it chooses too
EVERY=
if [[ $TASKS == all ]]; then
  EVERY=1
  TASKS=fairness,ood,adversarial,privacy,mcqa,arithmetic,game CROSSED="fairness ood adversarial"
  SELECT_BY="confidence icl-confidence reward random ntf truth-n truth"
fi
[[ $TASKS =~ ^[a-z]+(,[a-z]+)*$ ]] || die "--tasks $TASKS: unknown task; name tasks like fairness,ood"
TASKS=$(tr , '\n' <<<"$TASKS" | awk '!seen[$0]++' | paste -sd' ')
for task in $TASKS; do
  [[ -f w2s/tasks/$task.py ]] || die "unknown task $task: choose from $(ls w2s/tasks | sed -n 's/^\([a-z]*\)\.py$/\1/p' | paste -sd' ')"
done

# ---- environment: a python that has the packages, else .venv with the pinned ones ------------------
NEED="torch tokenizers safetensors numpy tqdm"
FILES=(-r requirements.txt -r requirements-figures.txt)
if [[ $PRESET == test ]]; then
  NEED="$NEED pytest matplotlib transformers sklearn fairlearn opacus dp_accounting peft trl chess"
  FILES+=(-r requirements-dev.txt)
fi
has() { [[ -x $(command -v "$1") ]] && "$1" - $NEED 2>/dev/null <<'P'
import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))
P
}
PY=
for candidate in "${PYTHON:-}" .venv/bin/python python3; do
  if [[ -n $candidate ]] && has "$candidate"; then PY=$candidate; break; fi
done
if [[ -z $PY && -n $DRY ]]; then PY=.venv/bin/python; fi
if [[ -z $PY ]]; then
  echo "installing the packages into .venv: about 1 GB (with CUDA several), some minutes" >&2
  { [[ -x .venv/bin/python ]] || python3 -m venv .venv; } || die "python3 -m venv failed; install python3-venv"
  .venv/bin/python -m pip install -q "$(grep ^torch== requirements.txt)" && \
  .venv/bin/python -m pip install -q "${FILES[@]}" || die "pip could not install the packages; see above"
  PY=.venv/bin/python
fi
if [[ $PRESET == test ]]; then exec "$PY" -m pytest -q tests; fi

# ---- running: QUEUE becomes a list of phases and commands; w2s.pool runs it, each command as soon as
# those before it are done that write (--out, --run) where it reads or writes -------------------------
CORES=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
if [[ -z $JOBS ]]; then if command -v nvidia-smi >/dev/null; then JOBS=1; else JOBS=$((CORES < 4 ? CORES : 4)); fi; fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((CORES / JOBS > 0 ? CORES / JOBS : 1))} TOKENIZERS_PARALLELISM=true
if command -v nvidia-smi >/dev/null || grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null
then RECIPE+=$'\n* * * --dtype bfloat16'; fi  # training only, labels and measurements stay float32: 1.7x on such a CPU
OUT=${OUT:-runs/$PRESET}
if [[ $OUT == runs/$PRESET ]]; then DATA=data/$PRESET; else DATA=$OUT/data; fi

QUEUE=() APOSTROPHE="'" ESCAPED="'\\''"
phase() { QUEUE+=("# $1"); }
run() {  # run <title> <script> <arguments>: queue a command of this phase
  local word line=
  for word in "$PY" "${@:2}"; do
    case $word in
      *[!A-Za-z0-9_./:=,@%+-]*|'') line+="'${word//$APOSTROPHE/$ESCAPED}' " ;;
      *) line+="$word " ;;
    esac
  done
  QUEUE+=("$line # $1")
}
each() { for task in $TASKS; do for ((seed = 0; seed < SEEDS; seed++)); do   # a cell: task and seed
  D=$DATA/$task R=$OUT/$task/seed$seed
  if [[ -n $RESPLIT ]]; then D=$D/seed$seed; fi
  "$@"; done; done; }
property() { case $task in mcqa|arithmetic|game) ;; *) "$@" ;; esac; }  # a task of the first paper
trusted() { case $task in mcqa|arithmetic|game) "$@" ;; esac; }         # a task of trust functions
crossed() { if [[ " $CROSSED " == *" $task "* ]]; then "$@"; fi; }      # a property with both
train() {  # train <script> <run> <weak|strong> <arguments>
  local preset of model flag value more=("${@:4}") i
  for ((i = 0; i < ${#TRAIN[@]}; i += 2)); do  # what a run is, an option does not change
    if [[ " ${more[*]} " != *" ${TRAIN[i]} "* ]]; then more+=("${TRAIN[@]:i:2}"); fi
  done
  while read -r preset of model flag value; do
    if [[ $PRESET == $preset && $task == $of && ( $3 == $model || $2 == $model ) && " ${more[*]} " != *" $flag "* ]]; then more+=("$flag" "$value"); fi
  done <<<"$RECIPE"
  run "$task seed$seed $2" "$1.py" --task "$task" --seed "$seed" --out "$R/$2" "${more[@]}"
}
attack() {  # attack <title> <text|extraction|membership> <arguments>
  local words=(); if [[ $2 == text && -n $SYNONYMS ]]; then words=(--synonyms "$SYNONYMS"); fi
  run "$1" attacks.py "$2" --task "$task" ${words[@]+"${words[@]}"} ${INFER[@]+"${INFER[@]}"} "${@:3}"
}

# ---- the experiment --------------------------------------------------------------------------------
case $PRESET in
  paper)     WEAK=${WEAK:-EleutherAI/pythia-14m}   STRONG=${STRONG:-EleutherAI/pythia-410m}   SEEDS=${SEEDS:-3} ATTACKED=${ATTACKED:-300} MAILS=${MAILS:-1000} ;;
  miniature) WEAK=${WEAK:-w2s/models/mini-weak}    STRONG=${STRONG:-w2s/models/mini-strong}   SEEDS=${SEEDS:-3} ATTACKED=${ATTACKED:-40} MAILS=${MAILS:-40}
    RAW=$DATA/raw SYNONYMS=${SYNONYMS:-$DATA/world/synonyms.json}
    NOTE="MINIATURE: made-up data and small models; these numbers show the method, not those of the paper."
    phase "the town: raw files"
    run "raw files" -m w2s.miniature world --out "$DATA" --seed "$TOWN" ;;
  smoke)     WEAK=$DATA/tiny-2x32 STRONG=$DATA/tiny-3x64 STRONGS=() SEEDS=${SEEDS:-1} ATTACKED=${ATTACKED:-24} MAILS=${MAILS:-16} LIMIT=${LIMIT:-240}
    RAW=$DATA/raw NOTE="SMOKE: invented rows and untrained models; these numbers say nothing about the paper."

    phase "invented rows and untrained models"
    run "raw files and models" -m tests.smoke_data --out "$DATA" ;;
esac

phase "rows: weak, wts, val, trust and test of every task"
perturb() {  # texts perturbed by three attacks on a surrogate, which is never evaluated
  seed=1000 R=$OUT train train_weak surrogate strong --model "$STRONG" --data "$DATA/world/clean.jsonl" --lam 0
  for source in sst2 qqp mnli mnli-mm qnli rte; do
    attack "attacks on $source" text --run "$OUT/surrogate" --data "$DATA/world/victims/$source.jsonl" --out "$RAW/$source.jsonl"
  done
}
prepare() {
  if [[ $PRESET$seed == miniature0 && $task == adversarial ]]; then perturb; fi
  if [[ -n $RESPLIT || $seed == 0 ]]; then
    local limit=$LIMIT; if [[ $PRESET$task == miniatureood ]]; then limit=${LIMIT:-3000}; fi  # of 12,000, more than its runs read
    run "$task" -m w2s.prepare data --task "$task" --out "$D" --seed "$seed" ${RAW:+--raw "$RAW"} ${limit:+--limit "$limit"}; fi
}
each prepare

phase "strong ceilings and weak models on ground truth, without and with the regulariser"
ceilings() {
  train train_weak ceiling-none strong --model "$STRONG" --data "$D/$CEILING.jsonl" --lam 0
  train train_weak ceiling-tft  strong --model "$STRONG" --data "$D/$CEILING.jsonl"
}
weak() {
  train train_weak weak-none weak --model "$WEAK" --data "$D/weak.jsonl" --lam 0
  train train_weak weak-tft  weak --model "$WEAK" --data "$D/weak.jsonl"
}
untuned() { if [[ $task == privacy ]]; then  # much of a mail can be guessed: controls of the attacks
  train train_weak base-strong strong --model "$STRONG" --data "$D/$CEILING.jsonl" --lam 0 --epochs 0
  train train_weak base-weak   weak   --model "$WEAK"   --data "$D/weak.jsonl"     --lam 0 --epochs 0; fi; }
teacher() {  # and the untuned student, the base of Recovery
  train train_weak weak-none   weak   --model "$WEAK"   --data "$D/weak.jsonl"
  train train_weak base-strong strong --model "$STRONG" --data "$D/weak.jsonl" --epochs 0
}
each property ceilings; each property weak; each untuned; each trusted teacher

phase "weak labels for the students"
label() { run "$task seed$seed labels" label.py --task "$task" ${INFER[@]+"${INFER[@]}"} "$@"; }
labels() { if [[ " $CROSSED " == *" $task "* ]]
  then label --run "$R"/weak-{none,tft} --data "$D"/{wts,trust}.jsonl --hidden
  else label --run "$R"/weak-{none,tft} --data "$D/wts.jsonl"; fi; }
states() {
  label --run "$R/weak-none" --data "$D"/{wts,trust}.jsonl --hidden
  if [[ -n $EVERY && $task == arithmetic ]]; then  # to learn from another task's answers what to trust
    run "$task seed$seed mcqa labels" label.py --task mcqa ${INFER[@]+"${INFER[@]}"} --run "$R/weak-none" --data "$DATA/mcqa${D#"$DATA/arithmetic"}/trust.jsonl" --hidden
  fi
}
each property labels; each trusted states

if [[ " $TASKS " =~ \ (mcqa|arithmetic|game)\  || -n $(for task in $TASKS; do crossed echo 1; done) ]]; then
  phase "which labels to trust: the trust function, and what it is compared with"
fi
choose() {  # choose <run> <teacher> <arguments>; $learned: rows that it learns from
  local more=()
  if [[ $PRESET == miniature ]]; then
    if [[ " mcqa arithmetic game " == *" $task "* && " $* " != *" truth "* ]]; then more=(--keep 0.6); fi
    case " $* " in
      *" reward "*) more+=(--reward-lr 2e-3) ;;
      *" ntf "*|*" truth-n "*) if [[ $task == mcqa ]]; then more+=(--features both); fi ;;  # an option is read alone
    esac
  fi
  run "$task seed$seed $1" train_ntf.py --teacher "$R/$2" --labelled "$R/$2/labels/${learned:-trust}.jsonl" --pool "$R/$2/labels/wts.jsonl" \
    --out "$R/$1" --seed "$seed" "${@:3}" ${more[@]+"${more[@]}"}
}
choices() { for by in $SELECT_BY margin entropy; do choose "trust-$by" weak-none --select "$by"; done; }  # the last two without a student
zero() { case $PRESET/$task in  # trained on one source, used on another
  miniature/mcqa) choose trust-ntf-zero-shot weak-none --select ntf --sources people ;;
  paper/mcqa) if [[ -n $RAW && -n $(find "$RAW" -iname '*mmlu*' -print -quit) ]]; then choose trust-ntf-zero-shot weak-none --select ntf --sources mmlu; fi ;;
  */arithmetic) if [[ -n $EVERY ]]; then learned=mcqa-trust choose trust-ntf-other-task weak-none --select ntf; fi ;; esac; }
crossings() { for teacher in none tft; do choose "trust-ntf-$teacher" "weak-$teacher" --select ntf; done; }
each trusted choices; each zero; each crossed crossings

phase "students on weak labels"
student() { train train_student "$2" strong --model "$STRONG" --labels "$R/$1/labels/wts.jsonl" "${@:3}"; }
aux() { if [[ $task != privacy ]]; then student "$@"; fi; }  # text has no confidence loss (reading P5)
students() {
  student weak-none student-naive-none --lam 0 --alpha 0   # No TFT
  aux     weak-none student-aux-none   --lam 0
  student weak-tft  student-naive-weak --lam 0 --alpha 0   # Weak TFT
  aux     weak-tft  student-aux-weak   --lam 0
  student weak-tft  student-naive-both --alpha 0           # Weak+WTS TFT
  aux     weak-tft  student-aux-both
}
chosen() {  # a student of each choice of labels; of all of them; of ntf also otherwise
  student weak-none student-all
  for by in $SELECT_BY; do student "trust-$by" "student-$by"; done
}
otherwise() { if [[ -n $EVERY ]]; then case $task in  # on the labels of ntf, trained otherwise
  mcqa) student trust-ntf student-lora --lora-rank 8 --lr 1e-2 ;;
  game) student trust-ntf student-grpo --objective grpo --lr 1e-3 --epochs 2 ;; esac; fi; }
crossing() {  # the same students on trusted labels
  student trust-ntf-none student-naive-none-ntf --lam 0 --alpha 0
  student trust-ntf-tft  student-naive-weak-ntf --lam 0 --alpha 0
  student trust-ntf-tft  student-naive-both-ntf --alpha 0
}
each property students; each trusted chosen; each otherwise; each crossed crossing

before() { echo "student-$(if [[ $1 == 2 ]]; then echo ntf; else echo "gen$(($1 - 1))"; fi)"; }
relabel() { label --run "$R/$(before "$1")" --data "$D"/{wts,trust}.jsonl --hidden; }
rechoose() { choose "trust-gen$1" "$(before "$1")" --select ntf; }
restudy() {
  local last=$((${#STRONGS[@]} - 1)); local i=$(($1 - 1 < last ? $1 - 1 : last)); local next=$STRONG
  if [[ $i -gt 0 ]]; then next=${STRONGS[i]}; fi
  STRONG=$next student "trust-gen$1" "student-gen$1"
}
if [[ " $TASKS " =~ \ (mcqa|arithmetic|game)\  ]]; then
  for generation in 2 3; do
    phase "the chain: the student on trusted labels is the teacher of generation $generation and labels anew"
    each trusted relabel "$generation"
    phase "generation $generation: which of its labels to trust"
    each trusted rechoose "$generation"
    phase "generation $generation: its student"
    each trusted restudy "$generation"
  done
fi

phase "every model measured on test rows, ceilings on validation rows too, and attacked itself"
measure() { run "$task seed$seed $1" evaluate.py --task "$task" ${INFER[@]+"${INFER[@]}"} "${@:2}"; }
itself() { attack "$task seed$seed $1 attacked" text --data "$D/test.jsonl" --limit "$ATTACKED" --run "${@:2}"; }
attacked() { if [[ $task == adversarial ]]; then
  itself students "$R"/student-{naive,aux}-{none,weak,both}
  itself ceilings "$R"/ceiling-{none,tft}
  itself weak     "$R"/weak-{none,tft}; fi; }
kept() {
  local few=() most=$MAILS
  if [[ $1 == extraction && $PRESET == miniature ]]; then few=(--candidates 10) most=${KEPT:-25}; fi
  attack "$task seed$seed $2 $1" "$1" --data "$D"/{weak,wts,test}.jsonl --limit "$most" ${few[@]+"${few[@]}"} --run "${@:3}"
}
mails() { if [[ $task == privacy ]]; then  # mails <extraction|membership>
  kept "$1" students "$R"/student-naive-{none,weak,both}
  kept "$1" ceilings "$R"/ceiling-{none,tft} "$R"/base-strong
  kept "$1" weak     "$R"/weak-{none,tft} "$R"/base-weak; fi; }
measured() {  # on validation rows the ceilings' lambda is chosen
  local more=("$R"/student-aux-{none,weak,both})
  if [[ $task == privacy ]]; then more=("$R"/base-{weak,strong}); fi
  measure models   --data "$D/test.jsonl" --run "$R"/{weak-none,weak-tft} "$R"/student-naive-{none,weak,both} "${more[@]}"
  measure ceilings --data "$D"/{test,val}.jsonl --run "$R"/ceiling-{none,tft}
}
answers() {
  local students=(all gen2 gen3); students+=($SELECT_BY)
  if [[ -n $EVERY && $task == mcqa ]]; then students+=(lora); fi
  if [[ -n $EVERY && $task == game ]]; then students+=(grpo); fi
  measure models --data "$D/test.jsonl" --run "$R"/weak-none "$R"/base-strong "${students[@]/#/$R/student-}"
}
both() { measure "on trusted labels" --data "$D/test.jsonl" --run "$R"/student-naive-{none,weak,both}-ntf; }
each attacked; each mails extraction; each mails membership; each property measured; each trusted answers; each crossed both

phase "report"
run report -m w2s.report --runs "$OUT" --data "$DATA" --select "$SELECT" --command "$COMMAND" ${NOTE:+--note "$NOTE"}

# ---- go ---------------------------------------------------------------------------------------------
if [[ -t 1 ]]; then export CLICOLOR_FORCE=1; fi  # the pool hands the report's screen on
if [[ -z $DRY ]]; then exec "$PY" -m w2s.pool --jobs "$JOBS" --show-last <<<"$(printf '%s\n' "${QUEUE[@]}")"; fi
for line in "${QUEUE[@]}"; do
  if [[ $line == "# "* ]]; then echo "phase: ${line#\# }" >&2; else echo "${line%  # *}"; fi
done
