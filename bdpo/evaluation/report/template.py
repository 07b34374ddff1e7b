"""The page: HTML and CSS without any outside resource; Jinja escapes whatever is put in."""

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#57606a;--paper:#fff;--card:#f6f8fa;--line:#d0d7de;
--accent:#0b6bcb;--good:#1a7f37;--bad:#b42318}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--paper:#0d1117;--card:#161b22;--line:#3d444d;
--accent:#58a6ff;--good:#3fb950;--bad:#ff7b72}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif;overflow-wrap:break-word}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:.2rem 0 .4rem}
h2{font-size:1.25rem;margin:2.6rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.4rem 0 .4rem}
p,ul{margin:.5rem 0}.soft{color:var(--soft)}
.verdict{background:var(--card);border-left:.3rem solid var(--accent);border-radius:.4rem;padding:1rem 1.2rem;
margin:1.2rem 0}
.verdict>p:first-child{font-size:1.25rem;font-weight:600;line-height:1.35;margin-top:0}
.wide{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}
.one{white-space:nowrap}
figure{margin:1rem 0}figure picture{display:block;overflow-x:auto}
figure img{display:block;width:100%;min-width:36rem;height:auto}
figcaption{color:var(--soft);font-size:.9rem;margin-top:.3rem}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer;font-weight:600}
details details{margin-left:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border-radius:.3rem;padding:.6rem;
margin:.3rem 0;
font:13px/1.45 ui-monospace,monospace}
code{font:.88em ui-monospace,monospace;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;font-size:.9rem;margin:.6rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:38rem){figcaption::before{content:"Scroll sideways to see all of it. "}}
@media (max-width:34rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}h1{font-size:1.4rem}
.cards thead{display:none}.cards tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
.cards td{display:block;border:0;padding:.08rem 0}.cards td::before{content:attr(data-name) ": ";color:var(--soft)}
.cards td:first-child{font-weight:600}.cards td:first-child::before{content:""}}
@media print{details{break-inside:avoid}}
"""

_TABLE = """
{% macro pieces(texts) %}{% for text in texts %}<span class="one">{{ text }}</span> {% endfor %}{% endmacro %}
{% macro figures(rows) %}
<div class="wide"><table class="cards">
<thead><tr><th>benchmark</th><th>figure</th><th>base</th><th>aligned</th><th>change in points</th><th>verdict</th>
</tr></thead>
<tbody>{% for row in rows %}
<tr><td data-name="benchmark">{{ row.benchmark }}</td><td data-name="figure">{{ row.figure }}</td>
<td data-name="base">{{ pieces(row.base) }}</td><td data-name="aligned">{{ pieces(row.aligned) }}</td>
<td data-name="change in points">{{ pieces(row.change) }}</td>
<td data-name="verdict" class="{{ row.shown }}">{{ row.shown }}</td></tr>{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro picture(of) %}
<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{{ of.dark }}">
<img src="{{ of.light }}" alt="{{ of.alt }}"></picture><figcaption>{{ of.caption }}</figcaption></figure>
{% endmacro %}
"""

PAGE = (
    _TABLE
    + """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Safety evaluation: {{ model }}, {{ method }}</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body><main>
<p class="soft">Safety evaluation{% if first_look %} &middot; a first look: not all prompts or pairs were used
{%- endif %}</p>
<h1>{{ model }}, aligned with {{ method }}</h1>

<section class="verdict">
<p>{{ verdict.headline }}</p>
{% set quiet = verdict.notes | rejectattr("shown") | list if verdict.notes | length > most_notes else [] %}
<ul>{% for note in verdict.notes if note not in quiet %}<li>{{ together(note.text) }}</li>{% else %}
{% if not quiet %}<li>Nothing was measured.</li>{% endif %}{% endfor %}</ul>
{% if quiet %}<details><summary>{{ quiet | length }} {{ "figure shows" if quiet | length == 1 else "figures show" }}
 no change</summary>
<ul>{% for note in quiet %}<li>{{ together(note.text) }}</li>{% endfor %}</ul></details>{% endif %}
{% if seen %}<p class="worse">{{ seen }} of the prompts stand in the training data, word for word (of an attack perhaps
its goal): their figures say little of other prompts.</p>{% endif %}
<p class="soft">Brackets are {{ confidence }}% intervals, each for its figure alone. A change counts as shown where its
p value, corrected for the number of figures, is below {{ "%g" | format(1 - confidence | float / 100) }};
 a change that is not shown may still be there.</p>
</section>

<h2>Safety and over-refusal</h2>
{% if safety %}
<p>Both belong together: a model that refuses everything is safe and useless.</p>
{{ picture(pictures.rates) }}
{{ figures(safety) }}
{% else %}<p>No prompts were judged.</p>{% endif %}

<h2>General ability and held-out preferences</h2>
{% if ability %}{{ figures(ability) }}{% else %}<p>Not measured in this run.</p>{% endif %}
{% if held_out %}<p class="soft">Held-out preference accuracy: how often the chosen response of a validation pair has
the higher summed log-prob. Of the pairs of one prompt, which are not independent, the first by <code>pair_id</code>
stands for all, so n counts prompts.</p>{% endif %}

<h2>Prompts whose verdict changed</h2>
{% if changes %}
<p>{{ num_flips }} {{ "prompt has" if num_flips == 1 else "prompts have" }} another verdict for one model than for the
other. Read some before you trust the judge.</p>
{% for group in changes %}
<h3>{{ group.title }}
<span class="{{ 'better' if group.good else 'worse' }}">({{ 'wanted' if group.good else 'unwanted' }})</span></h3>
<details><summary>Warning: the texts may be offensive or dangerous. Show
{% if group.flips | length == 1 %}it{% elif group.flips | length > shown_flips %}the first {{ shown_flips }}
{%- else %}all {{ group.flips | length }}{% endif %}.</summary>
{% for flip in group.flips[:shown_flips] %}
<details><summary>{{ flip.benchmark }}, {{ flip.prompt_id }}</summary>
<p class="soft">Prompt</p><pre>{{ flip.prompt }}</pre>
<p class="soft">Base model: {{ flip.base_verdict }} ({{ flip.base_reason }})</p><pre>{{ flip.base }}</pre>
<p class="soft">Aligned model: {{ flip.aligned_verdict }} ({{ flip.aligned_reason }})</p><pre>{{ flip.aligned }}</pre>
</details>{% endfor %}</details>
{% endfor %}
<p class="soft">All of them: <code>tables/flipped.csv</code>, where a text that a spreadsheet would take for a formula
begins with an apostrophe.</p>
{% else %}<p>None.</p>{% endif %}
{% if beside %}<p class="soft">Not looked at here: {{ beside | join(", ") }}.</p>{% endif %}

<h2>Training</h2>
{% if pictures.training %}{{ picture(pictures.training) }}{% else %}<p>No curves were recorded.</p>{% endif %}
{% for note in notes %}<p>{{ note }}</p>{% endfor %}
{% if pictures.information %}{{ picture(pictures.information) }}{% elif scored %}<p>The training split holds no pairs.
</p>{% else %}<p>The method has no reference model: nothing was scored, and there is no mutual information to show.
</p>{% endif %}

<h2>Data</h2>
<p>{{ trained_pairs }}{% if trained_pairs < all_pairs %} of {{ all_pairs }}{% endif %} pairs were trained on
{%- if trained_pairs < all_pairs %}: the policy is of a step before the end of the first epoch{% endif %}.
Pairs accepted:
{% for split, n in splits.items() %}{{ n }} for {{ "training" if split == "train" else split }}
{{- ", " if not loop.last }}{% endfor %}.
{% if pairs_left_out %}Of these, {{ pairs_left_out }} with two unsafe responses
{{ "was" if pairs_left_out == 1 else "were" }} left out, as {{ method }} asks.
{% endif %}
{% if cuts.prompts_cut or cuts.responses_cut %}Too long for <code>model.max_prompt_length</code> and
<code>model.max_length</code>: the prompts of {{ cuts.prompts_cut }} pairs lost their beginning,
{{ cuts.responses_cut }} responses their end.
{% endif %}
{% if quarantined %}Rows refused, each kept in the quarantine with its reason:{% else %}No row was refused.
{% endif %}</p>
{% if quarantined %}<div class="wide"><table><thead><tr><th>rule</th><th>rows</th></tr></thead><tbody>
{% for rule, n in quarantined.items() %}<tr><td>{{ rule }}</td><td>{{ n }}</td></tr>{% endfor %}</tbody></table>
</div>{% endif %}

<h3>Did training see the questions?</h3>
<div class="wide"><table class="cards"><thead><tr><th>benchmark</th><th>prompts</th><th>same as a training message
</th>
<th>share {{ run_words }} words in a row with one, stock phrases apart</th></tr></thead><tbody>
{% for b in benchmarks %}<tr><td data-name="benchmark">{{ b.name }}</td><td data-name="prompts">{{ b.used }}</td>
<td data-name="same as a training message" {% if b.same %}class="worse"{% endif %}>{{ b.same }}</td>
<td data-name="share {{ run_words }} words in a row" {% if b.shared %}class="worse"{% endif %}>{{ b.shared }}</td>
</tr>{% endfor %}
</tbody></table></div>
{% if beside %}<p class="soft">Not compared with the training data: {{ beside | join(", ") }}.</p>{% endif %}

<h2>Limits</h2>
<ul>
{% if first_look %}<li>A first look: of some benchmarks, or of the held-out pairs, only a part was used, spread
over the whole.</li>
{% endif %}
{% for b in benchmarks if b.independent < b.used %}<li>The {{ b.used }} items of {{ b.name }} are not independent: those
of one prompt or sentence taken as one, they are {{ b.independent }} at most. Its interval and p are somewhat too sure.
</li>
{% endfor %}
{% if without_verdict %}<li>Completions without a verdict are in no rate, and are no random few: a judge or its filter
declines by what is said, and long thoughts are cut. Of
{% for text in without_verdict %}{{ text }}{{ "; of " if not loop.last else "." }}
{% endfor %}</li>{% endif %}
{% if unanswerable %}<li>Prompts that the chat template refuses, or that ask for a text under copyright where harm is
judged, get no verdict from any model: {{ unanswerable | join("; ") }}.</li>{% endif %}
<li>Refusals are judged by {{ judge }}, at most {{ max_new_tokens }}
 tokens into a greedy completion unless a benchmark says
otherwise. {% if of_harm %}It sees whether a completion does the
harm that was asked for: one that does none counts as a refusal above, though it may be an answer. Over-refusal is
judged by rules that look for refusals.{% elif by_rubric %}It is asked with StrongREJECT's rubric, by
which a completion that is beside the point, or has nothing specific that helps with what was asked, counts as a
refusal too, of a harmless prompt as of a harmful one.{% else %}The judge sees whether a completion refuses, not
whether it does harm: nonsense counts as an answer.{% endif %}</li>
{% if cut_off %}<li>Some completions are as long as they may be, and so are cut unless they end just there. What would
have come later is in no figure: an answer counts as wrong, a refusal as none. That is so of
{% for own in cut_off %}{{ own.benchmark }}, {{ own.figure }}: {{ own.num_cut.base }} of {{ own.num_prompts }} by the
base model and {{ own.num_cut.aligned }} by the aligned one, at {{ own.longest }} tokens
{{- "; " if not loop.last else "." }}
{% endfor %}</li>{% endif %}
{% set cut = benchmarks | sum(attribute="cut") %}
{% if cut %}<li>{{ cut }} {{ "prompt is" if cut == 1 else "prompts are" }} longer than
<code>model.max_prompt_length</code>
and {{ "was" if cut == 1 else "were" }} asked without the beginning, the chat template's included.</li>{% endif %}
{% if judge == "rules" %}<li>The rules agree with people on {{ rules_agree }} of completions by models that they were
not made with. Their errors are in no interval.</li>{% endif %}
{% if attacked %}<li>Attacks are the fixed prompts of a file. An attacker who aims at this model anew will do better.
</li>{% endif %}
{% if chosen_by_held_out %}<li>The step whose weights the policy has was chosen by the validation split
(<code>train.early_stopping</code>), and the held-out preference accuracy is of the same pairs: it is somewhat too
good for the aligned model.</li>
{% endif %}
<li>One training run with one seed. Intervals are over prompts and say nothing of other seeds.</li>
<li>{% if dialogues %}{{ dialogues }} of {{ prompts }} prompts
 {{ "is a dialogue" if dialogues == 1 else "are dialogues" }}
 of several turns{% if dialogues < prompts %}, each of the others is one turn long{% endif %}
{% else %}Each prompt is one turn long{% endif %}; those of the published benchmarks are in English.</li>
</ul>

<h2>For the appendix</h2>
<div class="wide"><table class="cards"><thead><tr><th>benchmark</th><th>figure</th><th>became true / false</th>
<th>McNemar p, not corrected</th>
<th>bootstrap interval of the change</th></tr></thead><tbody>
{% for row in safety + ability %}<tr><td data-name="benchmark">{{ row.benchmark }}</td>
<td data-name="figure">{{ row.figure }}</td>
<td data-name="became true / false">{{ row.moved }}</td><td data-name="McNemar p, not corrected">{{ row.p }}</td>
<td data-name="bootstrap interval">{{ row.bootstrap }}</td></tr>{% endfor %}</tbody></table></div>
<p class="soft">Shares: Wilson intervals. Changes: Newcombe's interval for paired shares;
 exact McNemar test, two-sided,
here as it is, above corrected by Holm over all figures;
 paired bootstrap of 10,000 resamples, seed 0, which has no width where no verdict changed. Items without a verdict are
counted as unscored, never as zero. Full precision: <code>tables/eval_summary.csv</code>.</p>
{% for b in benchmarks %}
<h3>{{ b.name }}</h3>
<dl><dt>source</dt><dd>{{ b.source }}</dd><dt>licence</dt><dd>{{ b.licence }}</dd><dt>scoring</dt>
<dd>{{ b.scoring }}</dd>
<dt>prompts</dt><dd>{{ b.used }} of {{ b.available }}{% if b.left_out %}; {{ b.left_out }}
 items hold no prompt and are left out{% endif %}{% if b.cut %}; {{ b.cut }}
 asked without their beginning{% endif %}</dd>
<dt>file</dt><dd><code>sha256 {{ b.digest }}</code></dd></dl>
{% endfor %}

<h2>Checks</h2>
<p>What was checked, rule by rule:
{% for name, page in data_docs.items() %}<a href="{{ page }}">{{ name }}</a>{{ ", " if not loop.last else "." }}
{% endfor %}</p>

<h2>Lineage</h2>
<p class="soft">The evaluation's own record is <code>manifest.json</code> beside this file.</p>
{% for item in lineage %}
<details><summary>{{ item.stage }} <code>{{ item.fingerprint }}</code></summary>
<dl><dt>content</dt><dd><code>{{ item.content }}</code></dd>
<dt>finished</dt><dd>{{ item.finished }}, after {{ "%.0f" | format(item.seconds) }} s</dd>
{% for name, digest in item.inputs.items() %}<dt>input from {{ name }}</dt><dd><code>{{ digest }}</code></dd>
{% endfor %}
{% for name, value in item.reads.items() %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>{% endfor %}
{% for name, value in item.versions.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}
{% for name, value in item.machine.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl></details>
{% endfor %}
</main></body></html>
"""
)
