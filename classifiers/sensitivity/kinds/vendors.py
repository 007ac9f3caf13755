"""Credentials whose issuer gives them a recognisable form."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.validators import Check, distinct, entropy, jwt, placeholder, random_token

_RANDOM = distinct(6)


def _strong(value: str) -> bool:
    return not placeholder(value) and entropy(value) >= 3.2


def _slack(value: str) -> bool:
    return len(value) >= 20 and sum(map(str.isdigit, value)) >= 4 and _strong(value)


def _token(
    kind: str,
    pattern: str,
    *keywords: str,
    check: Check = _RANDOM,
    trigger: str | None = None,
    context: tuple[str, ...] = (),
    score: float = 0.95,
    name: str = "",
) -> Rule:
    return Rule(
        id=f"vendors.{name or kind}",
        category="credentials",
        kind=kind,
        pattern=pattern,
        keywords=keywords,
        check=check,
        trigger=trigger,
        context=context,
        score=score,
        specific=3,
    )


_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

RULES = (
    # Model providers
    _token("openai_key", r"\b(sk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_\-]{20,})", "sk-", check=_strong, trigger=r"sk-[A-Za-z0-9_\-]{20}"),
    _token("anthropic_key", r"\b(sk-ant-[a-z]{2,6}\d{2}-[A-Za-z0-9_\-]{20,})", "sk-ant-"),
    _token("openrouter_key", r"\b(sk-or-v1-[0-9a-f]{64})\b", "sk-or-v1-"),
    _token("huggingface_token", r"\b((?:hf|api_org)_[A-Za-z]{34})\b", "hf_", "api_org_", trigger=r"(?:hf|api_org)_[A-Za-z]{30}"),
    _token("groq_key", r"\b(gsk_[A-Za-z0-9]{48,56})\b", "gsk_"),
    _token("xai_key", r"\b(xai-[A-Za-z0-9]{70,90})\b", "xai-"),
    _token("perplexity_key", r"\b(pplx-[A-Za-z0-9]{40,64})\b", "pplx-"),
    _token("replicate_token", r"\b(r8_[A-Za-z0-9]{37})\b", "r8_"),
    _token("nvidia_key", r"\b(nvapi-[A-Za-z0-9_\-]{60,70})", "nvapi-"),
    _token("pinecone_key", r"\b(pcsk_[A-Za-z0-9_]{50,80})\b", "pcsk_"),
    _token("langsmith_key", r"\b(lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10})\b", "lsv2_"),
    _token("tavily_key", r"\b(tvly-(?:dev-|prod-)?[A-Za-z0-9]{20,40})\b", "tvly-"),
    _token("fireworks_key", r"\b(fw_[A-Za-z0-9]{22,28})\b", "fw_", check=random_token),
    # Clouds
    _token("aws_access_key", r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b", "akia", "asia", "abia", "acca", trigger=r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}"),
    _token(
        "aws_secret_key", r"(?:^|[^A-Za-z0-9/+=])([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+]|$)",
        check=random_token, context=("aws", "secret_access_key", "secretaccesskey", "secret access key", "secret key", "amazon", "aws_secret"),
        score=0.9,
    ),
    _token("aws_bedrock_key", r"\b(ABSK[A-Za-z0-9+/]{100,}={0,2})", "absk"),
    _token("aws_mws_token", rf"\b(amzn\.mws\.{_UUID})\b", "amzn.mws."),
    _token("google_api_key", r"\b(AIza[A-Za-z0-9_\-]{35})(?:[^A-Za-z0-9_\-]|$)", "aiza", trigger=r"AIza[A-Za-z0-9_\-]{35}"),
    _token("google_oauth_secret", r"\b(GOCSPX-[A-Za-z0-9_\-]{28})", "gocspx-"),
    _token("google_oauth_token", r"\b(ya29\.[A-Za-z0-9_\-]{20,})", "ya29."),
    _token("google_refresh_token", r"(?:^|[^\w/])(1//0[A-Za-z0-9_\-]{35,})", "1//0"),
    _token("azure_storage_key", r"(?i)(?:AccountKey|SharedAccessKey|SharedKey|AccessKey)[\"']?\s{0,2}[=:]\s{0,2}[\"']?([A-Za-z0-9+/]{43,86}={1,2})", "accountkey", "sharedaccesskey", "sharedkey", "accesskey"),
    _token("azure_sas", r"(?i)[?&;](?:sig|signature)=([A-Za-z0-9%+/]{40,}(?:%3D|=))", "sig=", "signature="),
    _token("azure_client_secret", r"(?:^|[^A-Za-z0-9_~.\-])([A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.\-]{31,34})", "q~", trigger=r"\dQ~[A-Za-z0-9_~.\-]{31}"),
    _token("azure_function_key", r"\b([A-Za-z0-9_\-]{20,54}AzFu[A-Za-z0-9_\-]{4,12}={0,2})", "azfu", trigger="AzFu"),
    _token("azure_devops_token", r"\b([a-z2-7]{52})\b", check=_strong, context=("azure", "devops", "vsts", "visualstudio", "azdo", "azure_devops", "dev.azure.com"), score=0.85),
    _token("digitalocean_token", r"\b(do[opr]_v1_[0-9a-f]{64})\b", "doo_v1_", "dop_v1_", "dor_v1_"),
    _token("alibaba_key", r"\b(LTAI[A-Za-z0-9]{16,20})\b", "ltai"),
    _token("tencent_key", r"\b(AKID[A-Za-z0-9]{28,36})\b", "akid"),
    _token("heroku_key", r"\b(HRKU-[A-Za-z0-9_\-]{50,70})", "hrku-"),
    _token("cloudflare_origin_key", r"\b(v1\.0-[0-9a-f]{24}-[0-9a-f]{146})\b", "v1.0-"),
    _token("scalingo_token", r"\b(tk-us-[A-Za-z0-9_\-]{48})", "tk-us-"),
    _token("fly_token", r"\b(fo1_[A-Za-z0-9_\-]{43}|fm[12][ar]?_[A-Za-z0-9+/]{100,}={0,2})", "fo1_", "fm1", "fm2"),
    _token("planetscale_token", r"\b(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9=_.\-]{32,64})", "pscale_"),
    _token("supabase_token", r"\b(sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_\-]{20,})\b", "sbp_", "sb_secret_"),
    _token("netlify_token", r"\b(nfp_[A-Za-z0-9]{36})\b", "nfp_"),
    _token("aiven_token", r"\b(AVNS_[A-Za-z0-9_\-]{17,22})\b", "avns_"),
    _token("clickhouse_key", r"\b(4b1d[A-Za-z0-9]{38})\b", "4b1d", check=_strong),
    _token("openshift_token", r"\b(sha256~[A-Za-z0-9_\-]{43})", "sha256~"),
    # Code and packages
    _token("github_token", r"\b(gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}|github_pat_[A-Za-z0-9_]{36,82})\b", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", trigger=r"gh[pousr]_[A-Za-z0-9]{30}|github_pat_[A-Za-z0-9_]{30}"),
    _token("gitlab_token", r"\b(gl(?:pat|ptt|rt|rtr|cbt|dt|ft|soat|imt|agent|oas|ffct|wt)-[A-Za-z0-9_\-.]{20,}|GR1348941[A-Za-z0-9_\-]{20}|_gitlab_session=[0-9a-z]{32})", "glpat-", "glptt-", "glrt-", "glrtr-", "glcbt-", "gldt-", "glft-", "glsoat-", "glimt-", "glagent-", "gloas-", "glffct-", "glwt-", "gr1348941", "_gitlab_session="),
    _token("bitbucket_token", r"\b(ATBB[A-Za-z0-9]{32})\b", "atbb"),
    _token("atlassian_token", r"\b(AT[AC]TT3[A-Za-z0-9_\-=]{60,})", "atatt3", "atctt3"),
    _token("npm_token", r"\b(npm_[A-Za-z0-9]{36})\b", "npm_", trigger=r"npm_[A-Za-z0-9]{36}"),
    _token("pypi_token", r"\b(pypi-AgE[A-Za-z0-9_\-]{50,})", "pypi-age"),
    _token("rubygems_key", r"\b(rubygems_[0-9a-f]{48})\b", "rubygems_"),
    _token("crates_token", r"\b(cio[A-Za-z0-9]{32})\b", "cio", check=random_token),
    _token("nuget_key", r"\b(oy2[a-z0-9]{43})\b", "oy2"),
    _token("clojars_token", r"\b(CLOJARS_[0-9a-z]{60})\b", "clojars_"),
    _token("docker_token", r"\b(dckr_(?:pat|oat)_[A-Za-z0-9_\-]{27,})", "dckr_"),
    _token("artifactory_token", r"\b(AKCp?[0-9A-Za-z]{10,73}|AP[0-9A-F][A-Za-z0-9]{8,})\b", "akc", "ap", check=random_token, trigger=r"\b(?:AKC[A-Za-z0-9]{10}|AP[0-9A-F][A-Za-z0-9]{8})", context=("artifactory", "jfrog", "akcp"), score=0.85),
    _token("sourcegraph_token", r"\b(sg[pd]_(?:[0-9a-f]{16}_|local_)?[0-9a-f]{40,64})\b", "sgp_", "sgd_"),
    _token("buildkite_token", r"\b(bkua_[0-9a-f]{40})\b", "bkua_"),
    _token("circleci_token", r"\b(CCI(?:PAT|PRJ)_[A-Za-z0-9]{22}_[0-9a-f]{40})\b", "ccipat_", "cciprj_"),
    _token("doppler_token", r"\b(dp\.(?:pt|ct|st|sa|scim|audit)\.(?:[a-z0-9_\-]{2,35}\.)?[A-Za-z0-9]{40,44})\b", "dp.pt.", "dp.ct.", "dp.st.", "dp.sa.", "dp.scim.", "dp.audit."),
    _token("sonar_token", r"\b(sq[pua]_[0-9a-f]{40})\b", "sqp_", "squ_", "sqa_"),
    _token("dependency_track_token", r"\b(odt_[A-Za-z0-9]{32,36}|odt_[A-Za-z0-9]{8}_[A-Za-z0-9]{32})\b", "odt_"),
    _token("octopus_key", r"\b(API-[A-Z0-9]{25,32})\b", "api-", check=random_token),
    _token("prefect_key", r"\b(pnu_[A-Za-z0-9]{36})\b", "pnu_"),
    _token("infracost_key", r"\b(ico-[A-Za-z0-9]{32})\b", "ico-"),
    # Chat and mail
    _token("slack_token", r"\b((?:xox[abeoprs]|xoxe\.xox[bp]|xapp|xwfp)-[A-Za-z0-9\-]{10,})", "xox", "xapp-", "xwfp-", check=_slack, trigger=r"x(?:ox[abeoprs]|app|wfp)[-.][A-Za-z0-9\-]{10}"),
    _token("slack_webhook", r"\b(hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,})", "hooks.slack.com/"),
    _token("discord_token", r"\b([MNO][A-Za-z\d_\-]{22,27}\.[A-Za-z\d_\-]{6}\.[A-Za-z\d_\-]{25,110})", trigger=r"[MNO][A-Za-z\d_\-]{22,27}\.[A-Za-z\d_\-]{6}\.[A-Za-z\d_\-]{25}", check=random_token),
    _token("discord_webhook", r"\b(discord(?:app)?\.com/api/webhooks/\d{8,22}/[A-Za-z0-9_\-]{40,})", "/api/webhooks/"),
    _token("teams_webhook", r"\b([A-Za-z0-9\-]{1,63}\.webhook\.office\.com/webhookb2/[A-Za-z0-9@\-]{40,}/IncomingWebhook/[A-Za-z0-9]{20,}/[A-Za-z0-9\-]{20,})", "webhook.office.com/"),
    _token("telegram_token", r"(?:^|[^\w])(?:bot)?(\d{6,12}:A[A-Za-z0-9_\-]{32,34})(?:[^\w\-]|$)", ":a", trigger=r"\d{6}:A[A-Za-z0-9_\-]{20}"),
    _token("sendgrid_key", r"\b(SG\.[A-Za-z0-9_\-]{20,24}\.[A-Za-z0-9_\-]{39,50})", "sg.", trigger=r"SG\.[A-Za-z0-9_\-]{20}"),
    _token("mailgun_key", r"\b(key-[0-9a-z]{32}|[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8})\b", trigger=r"key-[0-9a-z]{32}|[0-9a-f]{32}-[0-9a-f]{8}-"),
    _token("mailchimp_key", r"\b([0-9a-f]{32}-us\d{1,2})\b", "-us"),
    _token("sendinblue_key", r"\b(xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16})\b", "xkeysib-"),
    _token("twilio_key", r"\b(SK[0-9a-fA-F]{32})\b", "sk", trigger=r"SK[0-9a-fA-F]{32}"),
    # Money
    _token("stripe_key", r"\b((?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})", "sk_live_", "sk_test_", "sk_prod_", "rk_live_", "rk_test_", "rk_prod_", "whsec_"),
    _token("square_token", r"\b(sq0(?:atp|csp|idp)-[A-Za-z0-9_\-]{22,60}|EAAA[A-Za-z0-9_\-+=]{50,64})", "sq0", "eaaa"),
    _token("shopify_token", r"\b(shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32})\b", "shpat_", "shpca_", "shppa_", "shpss_", "shptka_"),
    _token("braintree_token", r"(access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32})", "access_token$"),
    _token("plaid_token", rf"\b(access-(?:sandbox|development|production)-{_UUID})\b", "access-"),
    _token("flutterwave_key", r"\b(FLW(?:SEC|PUB)K_(?:TEST|LIVE)?-?[A-Za-z0-9\-]{12,})", "flwseck", "flwpubk"),
    _token("lob_key", r"\b((?:live|test)_(?:pub_)?[0-9a-f]{31,40})\b", "live_", "test_"),
    _token("razorpay_key", r"\b(rzp_(?:live|test)_[A-Za-z0-9]{14,})\b", "rzp_"),
    _token("gocardless_token", r"\b(live_[A-Za-z0-9_\-=]{40,64})", "live_", check=random_token),
    _token("easypost_key", r"\b(EZ[AT]K[A-Za-z0-9]{54})\b", "ezak", "eztk"),
    _token("duffel_token", r"\b(duffel_(?:test|live)_[A-Za-z0-9_\-=]{43})", "duffel_"),
    _token("shippo_token", r"\b(shippo_(?:live|test)_[0-9a-f]{40})\b", "shippo_"),
    # Social
    _token("facebook_token", r"\b(EAA(?:CEdEose0cBA)?[A-Za-z0-9]{60,}|\d{13,17}\|[A-Za-z0-9_\-]{24,32})", "eaa", "|", trigger=r"EAA[A-Za-z0-9]{60}|\d{13}\|[A-Za-z0-9_\-]{24}", check=random_token),
    _token("twitter_bearer", r"\b(A{22}[A-Za-z0-9%]{60,100})", "aaaaaaaaaaaaaaaaaaaaaa", check=lambda value: len(set(value)) >= 12),
    # Developer services
    _token("databricks_token", r"\b((?:dapi|dkea|dose|dsapi)[0-9a-f]{32}(?:-\d)?)\b", "dapi", "dkea", "dose", trigger=r"(?:dapi|dkea|dose)[0-9a-f]{32}"),
    _token("postman_key", r"\b(PMAK-[0-9a-f]{24}-[0-9a-f]{34})\b", "pmak-"),
    _token("linear_key", r"\b(lin_(?:api|oauth)_[A-Za-z0-9]{32,64})\b", "lin_api_", "lin_oauth_"),
    _token("notion_token", r"\b(secret_[A-Za-z0-9]{43}|ntn_\d{11}[A-Za-z0-9]{32,40})\b", "secret_", "ntn_", check=random_token),
    _token("vault_token", r"\b(hvs\.[A-Za-z0-9_\-]{24,}|hv[br]\.[A-Za-z0-9_\-]{90,})", "hvs.", "hvb.", "hvr."),
    _token("vault_token", r"(?:^|[^\w.])(s\.[A-Za-z0-9]{24})\b", "s.", check=random_token, trigger=r"\bs\.[A-Za-z0-9]{24}\b", name="vault_token_old"),
    _token("terraform_token", r"\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{60,70})", ".atlasv1.", trigger=r"\.atlasv1\."),
    _token("pulumi_token", r"\b(pul-[0-9a-f]{40})\b", "pul-"),
    _token("age_key", r"\b(AGE-SECRET-KEY-1[0-9A-Z]{50,60})\b", "age-secret-key-1", check=distinct(2)),
    _token("onepassword_token", r"\b(ops_eyJ[A-Za-z0-9+/_\-]{100,}={0,3}|A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5})", "ops_eyj", "a3-"),
    _token("grafana_token", r"\b(glc_[A-Za-z0-9+/=]{32,}|glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|eyJrIjoi[A-Za-z0-9]{60,}={0,2})", "glc_", "glsa_", "eyjrijoi"),
    _token("sentry_token", r"\b(sntrys_eyJ[A-Za-z0-9+/=_]{60,}|sntryu_[0-9a-f]{64})", "sntrys_", "sntryu_"),
    _token("newrelic_key", r"\b(NR(?:AK|RA|BR|IQ|AA|II|IK)-[A-Za-z0-9_\-]{27,40}|NRJS-[0-9a-f]{19}|px-(?:api|dep)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b", "nrak-", "nrra-", "nrbr-", "nriq-", "nraa-", "nrii-", "nrik-", "nrjs-", "px-api-", "px-dep-"),
    _token("dynatrace_token", r"(?i)\b(dt0[a-z]\d{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64})\b", "dt0"),
    _token("hubspot_token", rf"\b(pat-(?:na|eu)\d-{_UUID})\b", "pat-na", "pat-eu"),
    _token("airtable_token", r"\b(pat[A-Za-z0-9]{14}\.[0-9a-f]{64})\b", "pat", trigger=r"pat[A-Za-z0-9]{14}\.[0-9a-f]"),
    _token("asana_token", r"\b([0-2]/(?:\d{12,17}(?:/\d{12,17})?:)?[0-9a-f]{32})\b", trigger=r"[0-2]/[0-9a-f]{12}"),
    _token("figma_token", r"\b(fig[duo][rh]?_[A-Za-z0-9_\-]{40,})", "figd_", "figu_", "figo_", "figor_", "figoh_", "figdr_", "figdh_", "figur_", "figuh_"),
    _token("dropbox_token", r"\b(sl\.(?:u\.)?[A-Za-z0-9_\-]{130,})", "sl."),
    _token("typeform_token", r"\b(tfp_[A-Za-z0-9_\-]{40,64})", "tfp_"),
    _token("readme_key", r"\b(rdme_[a-z0-9]{60,80})\b", "rdme_"),
    _token("contentful_token", r"\b(CFPAT-[A-Za-z0-9_\-]{43})", "cfpat-"),
    _token("mapbox_token", r"\b([st]k\.eyJ[A-Za-z0-9_\-]{20,}\.[A-Za-z0-9_\-]{20,24})", "sk.eyj", "tk.eyj"),
    _token("adafruit_key", r"\b(aio_[A-Za-z0-9]{28})\b", "aio_"),
    _token("adobe_secret", r"\b(p8e-[A-Za-z0-9]{32})\b", "p8e-"),
    _token("yandex_token", r"\b(AQVN[A-Za-z0-9_\-]{35,38}|t1\.[A-Z0-9a-z_\-]{10,}={0,2}\.[A-Z0-9a-z_\-]{86}={0,2}|y[0-3]_[A-Za-z0-9_\-]{55})", "aqvn", "t1.", "y0_", "y1_", "y2_", "y3_"),
    _token("maxmind_key", r"\b([A-Za-z0-9]{6}_[A-Za-z0-9]{20,36}_mmk)\b", "_mmk"),
    _token("ubidots_token", r"\b(BBFF-[A-Za-z0-9]{30})\b", "bbff-"),
    _token("frameio_token", r"\b(fio-u-[A-Za-z0-9_\-=]{64})", "fio-u-"),
    _token("settlemint_token", r"\b(sm_(?:aat|pat|sat)_[A-Za-z0-9]{16})\b", "sm_aat_", "sm_pat_", "sm_sat_"),
    _token("wakatime_key", rf"\b(waka_{_UUID})\b", "waka_"),
    _token("okta_token", r"(?i)\bSSWS\s{1,3}(00[A-Za-z0-9_\-]{39,40})", "ssws"),
    _token("launchdarkly_key", rf"\b((?:api|sdk)-{_UUID})\b", "api-", "sdk-", trigger=r"(?:api|sdk)-[0-9a-fA-F]{8}-"),
    _token("nightfall_key", r"\b(NF-[A-Za-z0-9]{32})\b", "nf-"),
    _token("sourcegraph_cody_token", r"\b(slk_[0-9a-f]{64})\b", "slk_"),
    _token("intra42_secret", r"\b(s-s4t2(?:ud|af)-[0-9a-f]{64})\b", "s-s4t2"),
    _token("jwt", r"\b(eyJ[A-Za-z0-9_\-]{10,}\.\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,})", "eyj", check=jwt, trigger=r"eyJ[A-Za-z0-9_\-]{10,}\.\.", name="jwe"),
    _token("salesforce_token", r"\b(00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{80,})", "00d", trigger=r"00D[A-Za-z0-9]{12,15}!"),
    _token("recaptcha_secret", r"\b(6L[c-f][A-Za-z0-9_\-]{37})(?:[^A-Za-z0-9_\-]|$)", "6lc", "6ld", "6le", "6lf", trigger=r"6L[c-f][A-Za-z0-9_\-]{30}", context=("recaptcha", "captcha", "secret")),
    _token("sidekiq_credential", r"(?i)\bBUNDLE_(?:ENTERPRISE|GEMS)__CONTRIBSYS__COM[=:\s\"']{1,4}([0-9a-f]{8}:[0-9a-f]{8})\b", "contribsys__com", check=distinct(4)),
    _token("sumologic_access_id", r"\b(su[A-Za-z0-9]{12})\b", check=random_token, trigger=r"\bsu[A-Za-z0-9]{12}\b", context=("sumo", "sumologic"), score=0.8),
    _token("prefixed_key", r"\b([a-z]{2,10}_(?:live|test|prod|secret|sk)_[A-Za-z0-9]{16,80})\b", "_live_", "_test_", "_prod_", "_secret_", "_sk_", check=random_token, score=0.8),
    # Signed tokens
    _token("jwt", r"\b(ey[JI][A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*)", "eyj", "eyi", check=jwt, trigger=r"ey[JI][A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8}"),
)  # fmt: skip
