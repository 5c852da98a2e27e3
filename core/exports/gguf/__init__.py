"""GGUF: the whole model in one file, or the adapter alone, for Ollama, LM Studio and llama.cpp.

families.py    which models, and what GGUF calls their parts and figures
vocabulary.py  the tokenizer and the chat template
quantise.py    16, 8 and fewer bits
writer.py      a model's folder -> a file
lora.py        an adapter -> a file
ollama.py      the Modelfile, and how to use it in plain words
llama_cpp.py   a file asked in llama.cpp (asked.py is the program that holds it)
offered.py     each as a Format
"""
