"""The chat template that tokenizers of lode's own have: ChatML.

`{% generation %}` marks what an assistant writes, its end mark included.
"""

from __future__ import annotations

CHATML = (
    "{%- if tools %}{{ '<|im_start|>system\n' }}"
    "{%- if messages and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{- 'You may call one or more of these functions:\n<tools>' }}"
    "{%- for tool in tools %}{{ '\n' + (tool | tojson) }}{% endfor %}"
    '{{- \'\n</tools>\nWrite each call as <tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>.<|im_end|>\n\' }}'
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if not (tools and loop.first and message.role == 'system') %}"
    "{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' %}"
    "{%- generation %}"
    "{{- message.content or '' }}"
    "{%- for call in message.tool_calls or [] %}"
    "{%- set call = call.function if call.function else call %}"
    "{{- '<tool_call>' + ({'name': call.name, 'arguments': call.arguments} | tojson) + '</tool_call>' }}"
    "{%- endfor %}"
    "{{- '<|im_end|>' }}"
    "{%- endgeneration %}"
    "{{- '\n' }}"
    "{%- else %}"
    "{{- (message.content or '') + '<|im_end|>\n' }}"
    "{%- endif %}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

PLAIN = (
    "{%- for message in messages %}"
    "{{- {'system': '', 'user': 'User: ', 'assistant': 'Assistant: '}.get(message.role, message.role + ': ') }}"
    "{%- if message.role == 'assistant' %}"
    "{%- generation %}{{- (message.content or '') + eos_token }}{%- endgeneration %}{{- '\n' }}"
    "{%- else %}{{- (message.content or '') + '\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
"""For tokenizers that have an end token, and neither a template nor tokens for turns (GPT-2, Llama's base models)."""
