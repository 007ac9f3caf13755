"""Illnesses said of a named person. An illness alone says nothing of anybody, and a name alone little; together they are private."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import Rule

ILLNESSES = tuple(
    """
    diabetes diabetic cancer carcinoma leukemia leukaemia lymphoma melanoma tumor tumour metastases hiv aids hepatitis tuberculosis
    epilepsy schizophrenia schizophrenic bipolar depression depressive ptsd autism autistic adhd dementia alzheimer parkinson sclerosis
    asthma copd hypertension stroke infarction angina pneumonia covid syphilis gonorrhea gonorrhoea chlamydia herpes miscarriage
    endometriosis anorexia bulimia alcoholism cirrhosis crohn colitis psoriasis lupus fibromyalgia arthritis anemia anaemia sepsis
    chemotherapy insulin antidepressant antiretroviral psychosis psychotic suicidal overdose diagnosed
    krebs karzinom leukämie hirntumor schizophrenie epilepsie demenz bluthochdruck herzinfarkt schlaganfall tuberkulose burnout
    fehlgeburt magersucht depressionen zuckerkrankheit diagnostiziert chemotherapie
    diabète dépression schizophrénie épilepsie démence vih sida avc asthme leucémie tumeur infarctus diagnostiqué diagnostiquée
    cáncer depresión esquizofrenia epilepsia demencia asma infarto ictus diagnosticado diagnosticada tumor
    cancro tumore diabete depressione schizofrenia epilessia demenza infarto leucemia diagnosticato diagnosticata
    câncer depressão esquizofrenia demência leucemia cukrzyca nowotwór rak depresja padaczka schizofrenia kanker suikerziekte depressie
    диабет рак депрессия шизофрения эпилепсия деменция вич инфаркт инсульт гепатит туберкулёз туберкулез диагноз
    糖尿病 癌症 抑郁症 精神分裂症 艾滋病 がん 鬱病 うつ病 統合失調症
    """.split()
)
"""Words by which an illness or its treatment is named, in lower case."""

_NAME = r"\p{Lu}[\p{L}'’\-]+(?: \p{Lu}[\p{L}'’.\-]*){0,2}"
_FULL_NAME = r"\p{Lu}\p{Ll}[\p{L}'’\-]*(?: \p{Lu}\.?)? \p{Lu}\p{Ll}[\p{L}'’\-]*"

RULES = (
    Rule(
        id="health.illness_of_a_person",
        category="phi",
        kind="person_with_illness",
        pattern=(
            rf"\b(?:Mr|Mrs|Ms|Miss|Herrn?|Frau|Monsieur|Madame|Mme|Señora?|Sra?|Signora?|Sig|Dhr|Mevr)\.? ({_NAME})"
            rf"|\b(?:[Pp]atient(?:in|e)?|[Pp]aciente|[Pp]aziente|[Ee]mployee|[Mm]itarbeiter(?:in)?)(?:'s)?(?: [Nn]ame)?(?: is)?:? ({_FULL_NAME})"
            rf"|\b[Nn]ame:? ({_FULL_NAME})|\b[Mm]y name is ({_NAME})"
            rf"|\b({_FULL_NAME})(?:,? (?:\(\d{{1,3}}\)|aged \d{{1,3}}|\d{{1,3}}(?: years old)?),?)?"
            r" (?:was |has been |is |got |had been |were )?(?:recently |newly |just |first |being |currently )?"
            r"(?:diagnosed|treated for|suffers? from|suffering from|tested positive|lives with|living with|hospitali[sz]ed|undergoing|receiving treatment|has (?:type|stage|breast|lung|severe|chronic)"
            r"|leidet an|erkrankte|ist an|souffre d|a été diagnostiqu|padece|sufre de|fue diagnosticad|soffre di|cierpi na)"
        ),
        trigger=(
            r"(?i)\b(?:mrs?|ms|miss|herrn?|frau|monsieur|madame|mme|se.{1,2}ora?|sra?|signora?|sig|dhr|mevr)\b"
            r"|pa[tc]i(?:ent|ente)|paziente|employee|mitarbeiter|\bname\b|diagnos|treated for|suffer|tested positive|lives with|living with"
            r"|hospitali|undergoing|receiving treat| has |leidet|erkrankte|ist an|souffre|padece|sufre|soffre|cierpi"
        ),
        context=ILLNESSES,
        before=160,
        after=200,
        score=0.75,
        specific=0,
    ),
)  # fmt: skip
