"""Well-known architectures, a page of combinators each.

Where torchvision has the net, it has the same name here, and its parts are called as torchvision's modules:
``features.0.weight`` there is ``features/0/kernel`` here, so that its weight files fit. Sizes, settings and
parameter counts are torchvision's too. Inputs are ``(N, H, W, C)``, of any channels; outputs are logits.
Weights start as those of jaxnn's layers do, except where a docstring says otherwise.
"""

from jaxnn.exports import public
from jaxnn.models.alexnet import alexnet as alexnet
from jaxnn.models.convnext import convnext as convnext
from jaxnn.models.convnext import convnext_tiny as convnext_tiny
from jaxnn.models.dcgan import dcgan_discriminator as dcgan_discriminator
from jaxnn.models.dcgan import dcgan_generator as dcgan_generator
from jaxnn.models.densenet import densenet as densenet
from jaxnn.models.densenet import densenet121 as densenet121
from jaxnn.models.efficientnet import efficientnet as efficientnet
from jaxnn.models.efficientnet import efficientnet_b0 as efficientnet_b0
from jaxnn.models.gpt import gpt as gpt
from jaxnn.models.lenet import lenet as lenet
from jaxnn.models.lstm_tagger import lstm_tagger as lstm_tagger
from jaxnn.models.mobilenet import mobilenet_v2 as mobilenet_v2
from jaxnn.models.resnet import resnet as resnet
from jaxnn.models.resnet import resnet18 as resnet18
from jaxnn.models.resnet import resnet50 as resnet50
from jaxnn.models.transformer import decoder_block as decoder_block
from jaxnn.models.transformer import encoder_block as encoder_block
from jaxnn.models.transformer import transformer as transformer
from jaxnn.models.unet import unet as unet
from jaxnn.models.vgg import vgg as vgg
from jaxnn.models.vgg import vgg11_bn as vgg11_bn
from jaxnn.models.vit import vit as vit

__all__ = public(globals())
