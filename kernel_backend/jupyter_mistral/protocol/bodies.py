"""The declarations of request bodies: what is checked, what the OpenAPI file says and what TypeScript knows comes from here.

Fields of the OpenAI and Mistral APIs that a client may send without effect are declared too; everything else is refused by name.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from .conversation import MAX_MESSAGES, MAX_TOOLS
from .images import PICTURE_TYPES
from .requests import MAX_CHOICES, MAX_TOP_LOGPROBS
from .validation import MUST_BE, bounds

MAX_PARTS = 1000
MAX_PROMPT_CHARS = 16 * 2**20
MAX_DESCRIPTION_CHARS = 16384
MAX_ARGUMENTS_CHARS = 2**20
MAX_INSTRUCTIONS_CHARS = 8000
_IMAGE_SUBTYPES = "|".join(kind.removeprefix("image/").replace("+", r"\+") for kind in PICTURE_TYPES)


def only(*values: Any) -> Meta:
    """For a field that is accepted with one of these values alone, which ask for nothing."""
    # named in the description too: `typing` takes two annotations for one where 0 stands for false
    description = f"Accepted as {' or '.join(map(json.dumps, values))}; changes nothing."
    return Meta(description=description, extra_json_schema={"enum": list(values)})


Ignored: TypeAlias = Annotated[Any, Meta(description="Accepted; changes nothing.")]
ModelName: TypeAlias = Annotated[
    str,
    Meta(
        max_length=300,
        description="A name of GET /v1/models; absent, empty or `default`: the loaded or configured model.",
    ),
]
# "$" alone would let a final line break through
FunctionName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$(?!\n)", extra={MUST_BE: "1 to 64 letters, digits, _ or -"})
]
JsonSchema: TypeAlias = Annotated[dict[str, Any], Meta(description="A JSON schema of up to 256 KB.")]

# ---------------------------------------------------------------------------------------------- messages

ImageURL: TypeAlias = Annotated[
    str,
    Meta(
        description="An image as a data: URL; nothing is fetched.",
        extra_json_schema={"pattern": f"^data:image/({_IMAGE_SUBTYPES});base64,[A-Za-z0-9+/]*={{0,2}}$"},
    ),
]


class ImageObject(Struct):
    url: ImageURL


class TextPart(Struct, tag="text", tag_field="type"):
    text: str


class ImagePart(Struct, tag="image_url", tag_field="type"):
    image_url: ImageURL | ImageObject


Content: TypeAlias = (
    str
    | Annotated[
        list[TextPart | ImagePart],
        Meta(max_length=MAX_PARTS, extra={MUST_BE: "a list of text and image_url parts"}),
    ]
)
CallId: TypeAlias = Annotated[str, Meta(max_length=256)]


class FunctionCall(Struct):
    name: FunctionName
    arguments: (
        Annotated[str, Meta(max_length=MAX_ARGUMENTS_CHARS, description="JSON text.")]
        | Annotated[dict[str, Any], Meta(description="Mistral's clients send the object itself.")]
        | None
    ) = None


class ToolCallBody(Struct):
    function: FunctionCall
    id: CallId | None = None
    type: Literal["function"] | None = None


class _MessageFields(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="role"):
    """What clients send back as they received it, as far as it is empty. `prefix` is Mistral's name for a last message that begins
    the answer, which every last message of the assistant does here."""

    name: Any = None
    prefix: Any = None
    refusal: Annotated[Any, only(None, "")] = None
    annotations: Annotated[Any, only(None, [])] = None
    function_call: Annotated[Any, only(None)] = None
    audio: Annotated[Any, only(None)] = None
    reasoning_content: Annotated[Any, only(None, "")] = None


class _SaidFields(_MessageFields, kw_only=True):
    content: Content
    tool_calls: Any = None
    tool_call_id: CallId | None = None


class SystemMessage(_SaidFields, tag="system"):
    pass


class DeveloperMessage(_SaidFields, tag="developer"):
    """OpenAI's newer name of the system message."""


class UserMessage(_SaidFields, tag="user"):
    pass


class AssistantMessage(_MessageFields, kw_only=True, tag="assistant"):
    """Needs content, calls or both."""

    content: Content | None = None
    tool_calls: Annotated[list[ToolCallBody], Meta(max_length=MAX_TOOLS)] | None = None
    tool_call_id: CallId | None = None


class ToolMessage(_MessageFields, kw_only=True, tag="tool"):
    """The result of the call `tool_call_id`."""

    content: Content
    tool_call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    tool_calls: Any = None


MessageBody: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

# ---------------------------------------------------------------------------------------------- tools


class ParametersSchema(Struct):
    """The JSON schema of the arguments, of up to 256 KB. Decoding enforces it."""

    type: Literal["object"] = "object"


class FunctionBody(Struct, forbid_unknown_fields=True):
    name: FunctionName
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    parameters: ParametersSchema | None = None
    strict: Annotated[bool, Meta(description="Without effect: arguments always follow the schema.")] | None = None


class ToolBody(Struct, forbid_unknown_fields=True):
    function: FunctionBody
    type: Literal["function"] = "function"


class NamedFunction(Struct):
    name: FunctionName


class NamedChoice(Struct):
    type: Literal["function"]
    function: NamedFunction


# Mistral's own name of `required` is `any`
ToolChoice: TypeAlias = Annotated[
    Literal["none", "auto", "required", "any"] | NamedChoice,
    Meta(extra={MUST_BE: "none, auto, required or one function"}),
]

# ---------------------------------------------------------------------------------------------- shape of the answer


class TextFormat(Struct, tag="text", tag_field="type"):
    pass


class JsonObjectFormat(Struct, tag="json_object", tag_field="type"):
    pass


class SchemaOfAnswer(Struct):
    """Needs `schema`, or `schema_definition`, as Mistral's client names it."""

    schema: JsonSchema | None = None
    schema_definition: JsonSchema | None = None


class JsonSchemaFormat(Struct, tag="json_schema", tag_field="type"):
    json_schema: SchemaOfAnswer


ResponseFormat: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StreamOptions(Struct):
    include_usage: bool | None = None


# ---------------------------------------------------------------------------------------------- what our own clients add


class NotebookBody(Struct):
    """nbformat 4 cells as they stand in the editor. An image's data may be an integer: the number of bytes left out."""

    cells: Annotated[list[Any], Meta(extra={MUST_BE: "a list of cells"})]


VariableBody: TypeAlias = Annotated[dict[str, str], Meta(extra={MUST_BE: "an object of strings: name, type, summary"})]


class ExtrasBody(Struct, forbid_unknown_fields=True):
    """The `mistral` field that this project's own clients add; see `Extras` for what each means."""

    events: bool | None = None
    notebook: NotebookBody | None = None
    focus: Annotated[int, Meta(ge=0, le=10**6)] | None = None
    scope: Literal["none", "cell", "above", "notebook"] = "notebook"
    variables: Annotated[list[VariableBody], Meta(max_length=2000)] | None = None
    figures: Annotated[list[str], Meta(max_length=100)] | None = None
    budget: Annotated[int, Meta(ge=64, le=10**7)] | None = None
    thorough: bool | None = None
    if_busy: Literal["wait", "refuse"] = "wait"
    client: Annotated[str, Meta(max_length=40)] | None = None
    instructions: Annotated[str, Meta(max_length=MAX_INSTRUCTIONS_CHARS)] | None = None


# ---------------------------------------------------------------------------------------------- bodies

MaxTokens: TypeAlias = Annotated[int, Meta(ge=1, le=131072)]
Seed: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
StopText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2.0, le=2.0)]
Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]


class NumbersBody(Struct, kw_only=True):
    """The numbers that choose the next token, each with its bounds."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=1000)] | None = None
    min_p: Probability | None = None
    max_tokens: MaxTokens | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


SAMPLING_BOUNDS = bounds(NumbersBody)


class SamplingBody(NumbersBody, kw_only=True):
    max_completion_tokens: MaxTokens | None = None
    random_seed: Annotated[Seed, Meta(description="Mistral's name of seed.")] | None = None
    stop: (
        Annotated[
            StopText | Annotated[list[StopText], Meta(max_length=4)],
            Meta(extra={MUST_BE: "up to 4 strings of 1 to 64 characters"}),
        ]
        | None
    ) = None


class _AcceptedFields(SamplingBody, kw_only=True):
    """Fields of other APIs: without effect, or accepted only with a value that asks for nothing."""

    metadata: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    reasoning_effort: Ignored = None
    return_token_ids: Ignored = None  # vLLM's, which benchmark clients always send
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    user: Ignored = None
    verbosity: Ignored = None
    web_search_options: Ignored = None
    audio: Annotated[Any, only(None)] = None
    best_of: Annotated[Any, only(1, None)] = None
    echo: Annotated[Any, only(False, None)] = None
    function_call: Annotated[Any, only(None, "none", "auto")] = None
    functions: Annotated[Any, only(None, [])] = None
    guardrails: Annotated[Any, only(None, [])] = None
    logit_bias: Annotated[Any, only(None, {})] = None
    min_tokens: Annotated[Any, only(0, None)] = None
    modalities: Annotated[Any, only(None, ["text"])] = None
    prediction: Annotated[Any, only(None, {"type": "content", "content": ""})] = None
    prompt_mode: Annotated[Any, only(None)] = None
    safe_prompt: Annotated[Any, only(False, None)] = None

    model: ModelName | None = None


class ChatBody(_AcceptedFields, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[
        list[MessageBody],
        Meta(
            max_length=MAX_MESSAGES,
            extra_json_schema={"minItems": 1},
            description="At least one message of the user says or shows something. A last message of the assistant begins the answer.",
        ),
    ]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS, description="More than 0 needs logprobs.")] | None = (
        None
    )
    tools: Annotated[list[ToolBody], Meta(max_length=MAX_TOOLS, description="Names are unique.")] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    mistral: ExtrasBody | None = None


Prompt: TypeAlias = Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)]


class FimBody(_AcceptedFields, kw_only=True, forbid_unknown_fields=True):
    prompt: Annotated[
        Prompt | Annotated[list[Prompt], Meta(min_length=1, max_length=1)],
        Meta(
            description="Not empty, unless there is a suffix.",
            extra={MUST_BE: f"a string of up to {MAX_PROMPT_CHARS:,} characters, or a list with one"},
        ),
    ] = ""
    suffix: (
        Annotated[
            Prompt,
            Meta(
                description="What comes after the text to fill in. Refused by a model that cannot (`capabilities.completion_fim`)."
            ),
        ]
        | None
    ) = None
    stream: bool | None = None


class CompletionBody(FimBody, kw_only=True, forbid_unknown_fields=True):
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=5)] | bool | None,
        Meta(extra_json_schema={"not": {"const": True}}, extra={MUST_BE: "a whole number from 0 to 5"}),
    ] = None
    mistral: ExtrasBody | None = None


NonEmpty: TypeAlias = Annotated[str, Meta(min_length=1)]
Dimensions: TypeAlias = Annotated[int, Meta(ge=1, le=65536)]


class EmbeddingBody(Struct, kw_only=True, forbid_unknown_fields=True):
    input: Annotated[
        NonEmpty | Annotated[list[NonEmpty], Meta(min_length=1, max_length=2048)],
        Meta(extra={MUST_BE: "a text or a list of texts, none of them empty"}),
    ]
    model: ModelName | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Dimensions | None = None
    output_dimension: Dimensions | None = None
    output_dtype: Literal["float"] | None = None
    user: Ignored = None


class AskBody(_AcceptedFields, kw_only=True, forbid_unknown_fields=True):
    """The next question of a saved chat."""

    content: (
        str
        | Annotated[list[str | TextPart | ImagePart], Meta(max_length=MAX_PARTS, extra={MUST_BE: "a list of parts"})]
        | None
    ) = None
    replaces: Annotated[str, Meta(max_length=64)] | None = None
    response_format: ResponseFormat | None = None
    mistral: ExtrasBody | None = None
